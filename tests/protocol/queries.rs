//! Questions of front ends that are no cells; also while a cell runs.

use std::time::{Duration, Instant};

use serde_json::json;
use zeromq::{ReqSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

use crate::frontend::{Frontend, until_exists};

/// Well below the time that the running cell would take.
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn questions_are_answered_also_while_a_cell_runs() {
    let mut kernel = Frontend::ready().await;

    // rust-analyzer's answers, with cursors in code points.
    let code = "let größe = String::new(); größe.capa";
    let chars = code.chars().count();
    let completion = json!({ "code": code, "cursor_pos": chars });
    let request = kernel
        .send_shell("complete_request", completion.clone())
        .await;
    let reply = kernel.recv_reply(&request).await;
    let matches = reply["matches"].as_array().unwrap();
    assert!(
        matches
            .iter()
            .any(|found| found.as_str().unwrap().starts_with("capacity")),
        "{reply:#}"
    );
    assert_eq!(
        (&reply["cursor_start"], &reply["cursor_end"]),
        (&json!(chars - 4), &json!(chars))
    );

    // While a cell runs, there are answers at once, if need be empty ones.
    let gate = kernel.gate("gate");
    let code = format!(
        "println!(\"{{}}\", std::process::id()); {}",
        until_exists(&gate)
    );
    let cell = kernel.send_execute(&code).await;
    kernel.recv_busy(&cell).await;
    kernel.recv_input(&cell).await;
    let printed = kernel.recv_iopub(&cell).await;
    let child: i32 = printed.content["text"]
        .as_str()
        .unwrap()
        .trim()
        .parse()
        .unwrap();

    for (msg_type, content) in [
        ("kernel_info_request", json!({})),
        ("complete_request", completion),
        (
            "inspect_request",
            json!({ "code": "String", "cursor_pos": 6, "detail_level": 0 }),
        ),
        ("is_complete_request", json!({ "code": "1" })),
        ("comm_info_request", json!({})),
        (
            "history_request",
            json!({ "hist_access_type": "tail", "n": 1 }),
        ),
    ] {
        let start = Instant::now();
        let request = kernel.send_shell(msg_type, content).await;
        let reply = kernel.recv_reply(&request).await;
        assert!(
            start.elapsed() < AT_ONCE,
            "{msg_type} took {:?}",
            start.elapsed()
        );
        kernel.recv_busy(&request).await;
        kernel.recv_idle(&request).await;
        match msg_type {
            "complete_request" => assert_eq!(reply["matches"], json!([])),
            "inspect_request" => assert_eq!(reply["found"], false),
            "is_complete_request" => assert_eq!(reply["status"], "complete"),
            "history_request" => assert_eq!(reply["history"][0][2], *code),
            _ => assert_eq!(reply["status"], "ok"),
        }
    }
    let start = Instant::now();
    let request = kernel.send_control("usage_request", json!({})).await;
    let usage = kernel.recv_reply(&request).await;
    assert!(
        start.elapsed() < AT_ONCE,
        "usage took {:?}",
        start.elapsed()
    );
    assert_eq!(usage["pid"], child);
    assert!(usage["kernel_memory"].as_u64().unwrap() > 0, "{usage:#}");
    assert!(
        usage["host_virtual_memory"]["total"].as_u64().unwrap() > 0,
        "{usage:#}"
    );

    std::fs::write(&gate, "").unwrap();
    kernel.recv_idle(&cell).await;
    assert_eq!(kernel.recv_reply(&cell).await["status"], "ok");

    // Comms are not supported, so each is closed at once.
    let open = json!({ "comm_id": "a-comm", "target_name": "no.such.target", "data": {} });
    let request = kernel.send_shell("comm_open", open).await;
    kernel.recv_busy(&request).await;
    let close = kernel.recv_iopub(&request).await;
    assert_eq!(
        (&*close.msg_type, &close.content["comm_id"]),
        ("comm_close", &json!("a-comm"))
    );
    kernel.recv_idle(&request).await;
    let request = kernel
        .send_shell("comm_info_request", json!({ "target_name": "x" }))
        .await;
    assert_eq!(kernel.recv_reply(&request).await["comms"], json!({}));

    for (code, status) in [
        ("let x = 1;", "complete"),
        ("fn f() {", "incomplete"),
        ("let s = \"open", "incomplete"),
        ("/* open", "incomplete"),
        ("f(1))", "invalid"),
        ("%memtrack", "complete"),
        ("%memtrack\nfn f() {", "incomplete"),
    ] {
        let request = kernel
            .send_shell("is_complete_request", json!({ "code": code }))
            .await;
        assert_eq!(
            kernel.recv_reply(&request).await["status"],
            status,
            "{code:?}"
        );
    }

    // The heartbeat echoes.
    let mut heartbeat = ReqSocket::new();
    heartbeat.connect(&kernel.info.hb_url()).await.unwrap();
    for beat in [&b"ping"[..], &[0, 255], &[7; 4096]] {
        heartbeat
            .send(ZmqMessage::from(beat.to_vec()))
            .await
            .unwrap();
        let echo = tokio::time::timeout(AT_ONCE, heartbeat.recv())
            .await
            .expect("an echo");
        assert_eq!(echo.unwrap().into_vec(), [beat]);
    }
    assert_eq!(kernel.replies_left_over(), [""; 0]);
}
