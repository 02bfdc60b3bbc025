//! The options of cells, and their numbers.

use jupyter_protocol::messaging::ExecuteRequest;
use serde_json::{Value, json};

use crate::frontend::{Frontend, cell};

#[tokio::test]
async fn options_and_numbers_of_cells() {
    let mut kernel = Frontend::ready().await;

    // The first prompt is 1.
    let request = kernel.send_execute("let first = 1;").await;
    kernel.recv_busy(&request).await;
    assert_eq!(kernel.recv_input(&request).await, 1);
    kernel.recv_idle(&request).await;
    assert_eq!(kernel.recv_reply(&request).await["execution_count"], 1);

    // A silent cell runs and shows nothing, also when it fails.
    for (code, status) in [
        ("let quiet = 7; println!(\"text\"); quiet", "ok"),
        ("panic!()", "error"),
        ("%memtrack\n1", "ok"),
    ] {
        let silent = ExecuteRequest {
            silent: true,
            stop_on_error: false,
            ..cell(code)
        };
        let request = kernel.send_cell(silent).await;
        kernel.recv_busy(&request).await;
        kernel.recv_idle(&request).await;
        let reply = kernel.recv_reply(&request).await;
        assert_eq!(
            (&reply["status"], &reply["execution_count"]),
            (&json!(status), &json!(1))
        );
    }

    // One that is not for the history shows its outputs and takes no number.
    let unstored = ExecuteRequest {
        store_history: false,
        ..cell("quiet + 1")
    };
    let request = kernel.send_cell(unstored).await;
    kernel.recv_busy(&request).await;
    assert_eq!(kernel.recv_input(&request).await, 1);
    assert_eq!(kernel.recv_result(&request).await["text/plain"], "8");
    kernel.recv_idle(&request).await;
    assert_eq!(kernel.recv_reply(&request).await["execution_count"], 1);

    // Expressions are evaluated after the cell, each for itself.
    let expressions = [
        ("sum", "quiet + first"),
        ("wrong", "no_such_name"),
        ("panics", "panic!(\"no\")"),
    ];
    let with_expressions = ExecuteRequest {
        user_expressions: Some(
            expressions
                .map(|(name, code)| (name.into(), code.into()))
                .into(),
        ),
        ..cell("let quiet = quiet + 1;")
    };
    let request = kernel.send_cell(with_expressions).await;
    kernel.recv_busy(&request).await;
    assert_eq!(kernel.recv_input(&request).await, 2);
    kernel.recv_idle(&request).await;
    let reply = kernel.recv_reply(&request).await;
    let values = &reply["user_expressions"];
    assert_eq!(reply["status"], "ok");
    assert_eq!(values["sum"]["status"], "ok", "{values:#}");
    assert_eq!(values["sum"]["data"]["text/plain"], "9", "{values:#}");
    for failed in ["wrong", "panics"] {
        assert_eq!(values[failed]["status"], "error", "{values:#}");
        assert!(
            values[failed]["ename"]
                .as_str()
                .is_some_and(|name| !name.is_empty()),
            "{values:#}"
        );
    }

    // A cell that fails takes a number, an empty one does not.
    for (code, number) in [("no_such_name", 3), ("", 3), (" \n", 3), ("1", 4)] {
        let request = kernel.send_execute(code).await;
        kernel.recv_until_idle(&request).await;
        assert_eq!(
            kernel.recv_reply(&request).await["execution_count"],
            number,
            "{code:?}"
        );
    }

    // What a front end leaves out has the protocol's defaults.
    let request = kernel
        .send_shell("execute_request", json!({ "code": "5" }))
        .await;
    kernel.recv_busy(&request).await;
    assert_eq!(
        kernel.recv_iopub(&request).await.content["execution_count"],
        5
    );
    assert_eq!(kernel.recv_result(&request).await["text/plain"], "5");
    kernel.recv_idle(&request).await;
    assert_eq!(kernel.recv_reply(&request).await["status"], "ok");

    // The history has the counted cells and no other.
    let stored = [
        "let first = 1;",
        "let quiet = quiet + 1;",
        "no_such_name",
        "1",
        "5",
    ];
    let all: Vec<Value> = (1..)
        .zip(stored)
        .map(|(line, code)| json!([1, line, code]))
        .collect();
    for (request, expected) in [
        (json!({"hist_access_type": "tail", "n": 2}), &all[3..]),
        (json!({"hist_access_type": "tail", "n": 100}), &all[..]),
        (
            json!({"hist_access_type": "range", "session": 0, "start": 2, "stop": 4}),
            &all[1..3],
        ),
        (
            json!({"hist_access_type": "search", "pattern": "let*", "n": 10}),
            &all[..2],
        ),
        (
            json!({"hist_access_type": "search", "pattern": "nothing like it"}),
            &[],
        ),
    ] {
        let about = request.to_string();
        let request = kernel.send_shell("history_request", request).await;
        let reply = kernel.recv_reply(&request).await;
        assert_eq!(reply["status"], "ok");
        let mut entries = reply["history"].as_array().expect("a list").clone();
        // The session's number is the kernel's own matter.
        entries.iter_mut().for_each(|entry| entry[0] = json!(1));
        assert_eq!(entries, expected, "{about}");
    }
    assert_eq!(kernel.replies_left_over(), [""; 0]);
}
