//! Cells that ask the user.

use jupyter_protocol::messaging::ExecuteRequest;

use crate::frontend::{Frontend, cell};

/// What `evcxr_input::get_string` does, without the crate, which may be out of reach.
fn asking(request: &str) -> String {
    format!(
        "println!(\"{request}:Name? \");\n\
         let mut line = String::new();\n\
         std::io::stdin().read_line(&mut line).unwrap();\n\
         println!(\"<{{}}>\", line.trim());"
    )
}

#[tokio::test]
async fn a_cell_asks_and_gets_an_answer() {
    let mut kernel = Frontend::ready().await;
    let with_stdin = |code: String| ExecuteRequest {
        allow_stdin: true,
        ..cell(&code)
    };

    for (kind, hidden) in [
        ("EVCXR_INPUT_REQUEST", false),
        ("EVCXR_INPUT_REQUEST_PASSWORD", true),
    ] {
        let request = kernel.send_cell(with_stdin(asking(kind))).await;
        kernel.recv_busy(&request).await;
        kernel.recv_input(&request).await;
        let (prompt, password) = kernel.recv_input_request(&request).await;
        assert_eq!((prompt.trim(), password), ("Name?", hidden));
        kernel.send_input("Grüße 😀").await;
        kernel.recv_stdout(&request, "<Grüße 😀>\n").await;
        kernel.recv_idle(&request).await;
        assert_eq!(kernel.recv_reply(&request).await["status"], "ok");
    }

    // A front end that cannot ask: the cell gets an empty line and goes on.
    let request = kernel.send_execute(&asking("EVCXR_INPUT_REQUEST")).await;
    let outputs = kernel.recv_until_idle(&request).await;
    assert!(
        outputs.iter().any(|output| output.content["text"]
            .as_str()
            .is_some_and(|text| text.contains("<>"))),
        "{outputs:#?}"
    );
    assert_eq!(kernel.recv_reply(&request).await["status"], "ok");

    // An interrupt ends the question; a late answer to it is not taken for that of the next.
    let request = kernel
        .send_cell(with_stdin(asking("EVCXR_INPUT_REQUEST")))
        .await;
    kernel.recv_input_request(&request).await;
    kernel.interrupt().await;
    assert_eq!(kernel.recv_failure(&request).await.ename, "Interrupted");
    kernel.send_input("late").await;
    let request = kernel
        .send_cell(with_stdin(asking("EVCXR_INPUT_REQUEST")))
        .await;
    kernel.recv_busy(&request).await;
    kernel.recv_input(&request).await;
    kernel.recv_input_request(&request).await;
    kernel.send_input("in time").await;
    kernel.recv_stdout(&request, "<in time>\n").await;
    kernel.recv_idle(&request).await;
    kernel.recv_reply(&request).await;
}
