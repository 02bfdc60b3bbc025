//! What cells show, as it comes.

use memtrack::record::{CellStatus, Memory};

use crate::frontend::{Frontend, until_exists};

#[tokio::test]
async fn outputs_come_whole_in_order_and_at_once() {
    let mut kernel = Frontend::ready().await;

    // Two rich outputs of one type between lines of text.
    let code = "for n in 1..=2 {
            println!(\"before {n}\");
            println!(\"EVCXR_BEGIN_CONTENT text/html\\n<b>{n}</b>\\nEVCXR_END_CONTENT\");
        }
        println!(\"after\");";
    let request = kernel.send_execute(code).await;
    kernel.recv_busy(&request).await;
    kernel.recv_input(&request).await;
    for n in 1..=2 {
        kernel.recv_stdout(&request, &format!("before {n}\n")).await;
        let (data, id) = kernel.recv_display(&request).await;
        assert_eq!(
            (data["text/html"].as_str(), id),
            (Some(&*format!("<b>{n}</b>")), None)
        );
    }
    kernel.recv_stdout(&request, "after\n").await;
    kernel.recv_idle(&request).await;
    kernel.recv_reply(&request).await;

    // A line that is not complete is seen while the cell still runs; so is a progress bar.
    let gate = kernel.gate("gate");
    let code = format!(
        "print!(\"x\"); {} print!(\"\\r50 %\");",
        until_exists(&gate)
    );
    let request = kernel.send_execute(&code).await;
    kernel.recv_busy(&request).await;
    kernel.recv_input(&request).await;
    kernel.recv_stdout(&request, "x").await;
    std::fs::write(&gate, "").unwrap();
    kernel.recv_stdout(&request, "\r50 %").await;
    kernel.recv_idle(&request).await;
    kernel.recv_reply(&request).await;

    // No value is shown where there is none.
    for nothing in [
        "()",
        "let x = 1;",
        "fn f() {}",
        "println!()",
        "// comment",
        "",
    ] {
        let outputs = kernel.run(nothing).await;
        assert!(
            outputs.iter().all(|output| output.msg_type == "stream"),
            "{nothing:?}: {outputs:#?}"
        );
    }
    kernel.assert_works().await;
}

#[tokio::test]
async fn a_tracked_cell_shows_its_table_and_record() {
    let mut kernel = Frontend::ready().await;

    let request = kernel
        .send_execute("%memtrack --label load\nlet v = vec![1u8; 1 << 20];")
        .await;
    kernel.recv_busy(&request).await;
    let number = kernel.recv_input(&request).await;
    let record = kernel.recv_table(&request).await;
    kernel.recv_idle(&request).await;
    assert_eq!(kernel.recv_reply(&request).await["status"], "ok");
    assert_eq!(record.cell.execution_count, number);
    assert_eq!(record.cell.label.as_deref(), Some("load"));
    assert_eq!(record.cell.status, CellStatus::Ok);
    let heap = record.rows.iter().find(|row| row.memory == Memory::Heap);
    let heap = heap.expect("a row for the heap");
    let grown = heap.after.expect("after") - heap.before.expect("before");
    assert!((1 << 20..1 << 21).contains(&grown), "{heap:?}");

    // A failed one too, before its error.
    let request = kernel
        .send_execute("%memtrack\npanic!(\"on purpose\")")
        .await;
    kernel.recv_busy(&request).await;
    kernel.recv_input(&request).await;
    let record = kernel.recv_table(&request).await;
    assert_eq!(record.cell.status, CellStatus::Panic);
    assert_eq!(
        kernel.recv_failure_of_running(&request).await.ename,
        "Panic"
    );

    // Every cell, once asked for.
    kernel.run("%memtrack on --full").await;
    let request = kernel.send_execute("println!(\"text\");").await;
    kernel.recv_busy(&request).await;
    kernel.recv_input(&request).await;
    kernel.recv_stdout(&request, "text\n").await;
    kernel.recv_table(&request).await;
    kernel.recv_idle(&request).await;
    kernel.recv_reply(&request).await;
}
