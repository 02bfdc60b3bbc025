//! The kernel answers long before evcxr is up.

use std::sync::Arc;
use std::time::Duration;

use jupyter_protocol::connection_info::Transport;
use jupyter_protocol::messaging::ExecuteRequest;
use serde_json::json;

use crate::frontend::{Frontend, cell, new_home};

#[tokio::test]
async fn kernel_info_comes_at_once_and_a_cell_is_told_that_it_waits() {
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let mut kernel = Frontend::start_in(Arc::new(new_home()), Transport::TCP).await;
        let request = kernel.send_shell("kernel_info_request", json!({})).await;
        let reply = kernel.recv_reply(&request).await;
        fastest = fastest.min(kernel.age());
        kernel.recv_busy(&request).await;
        kernel.recv_idle(&request).await;
        assert_eq!(reply["language_info"]["name"], "rust");
        assert_eq!(reply["language_info"]["file_extension"], ".rs");
        assert_eq!(reply["status"], "ok");
    }
    assert!(
        fastest < Duration::from_millis(300),
        "kernel_info took {fastest:?}"
    );

    let mut kernel = Frontend::start_slowly().await;
    let request = kernel.send_execute("println!(\"runs\");").await;
    let (notice, id) = kernel.recv_display(&request).await;
    let id = Some(id.expect("a notice that can be updated"));
    assert!(
        notice["text/plain"].as_str().unwrap().contains("starting"),
        "{notice}"
    );
    // The notice ends as one line that says that the wait is over.
    let outputs = kernel.recv_until_idle(&request).await;
    let [update, printed] = &outputs[..] else {
        panic!("{outputs:#?}")
    };
    assert_eq!(update.msg_type, "update_display_data", "{update:?}");
    assert_eq!(
        update.content["transient"]["display_id"].as_str(),
        id.as_deref()
    );
    assert_eq!(printed.content["text"], "runs\n");
    assert_eq!(kernel.recv_reply(&request).await["execution_count"], 1);
}

#[tokio::test]
async fn a_silent_cell_is_not_told_that_it_waits_but_the_next_one_is() {
    let mut kernel = Frontend::start_slowly().await;
    let silent = ExecuteRequest {
        silent: true,
        ..cell("1")
    };
    let silent = kernel.send_cell(silent).await;
    let request = kernel.send_execute("2").await;
    kernel.recv_busy(&silent).await;
    kernel.recv_idle(&silent).await;
    assert_eq!(kernel.recv_reply(&silent).await["status"], "ok");
    let (notice, _) = kernel.recv_display(&request).await;
    assert!(
        notice["text/plain"].as_str().unwrap().contains("starting"),
        "{notice}"
    );
    kernel.recv_until_idle(&request).await;
    assert_eq!(kernel.recv_reply(&request).await["status"], "ok");
}
