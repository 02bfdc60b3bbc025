//! However a cell fails: one error, idle, and the next cell works.

use crate::frontend::{Frontend, until_exists};
use crate::processes::kill;

#[tokio::test]
async fn every_failure_is_one_error_and_ends_idle() {
    let mut kernel = Frontend::ready().await;
    for (code, ename, words) in [
        ("let wrong: u32 = \"text\";", "E0308", "mismatched types"),
        (
            "let a: u32 = \"text\"; let b: bool = 1;",
            "E0308",
            "mismatched types",
        ),
        ("let open = (1;", "", ""),
        ("panic!(\"on purpose: {}\", 7)", "Panic", "on purpose: 7"),
        (
            "let number = \"twelve\".parse::<i32>()?;",
            "Error",
            "invalid digit",
        ),
        ("std::process::exit(3);", "Killed", "exit code 3"),
        ("std::process::exit(0);", "Killed", "exit code 0"),
        ("std::process::abort();", "Killed", "SIGABRT"),
        (
            "unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };",
            "Killed",
            "SIGSEGV",
        ),
        ("%memtrak\n1 + 1", "MagicError", "memtrak"),
        ("1 + 1\n%memtrack", "MagicError", "%memtrack"),
        (":no_such_command", "Error", "no_such_command"),
    ] {
        let request = kernel.send_execute(code).await;
        let failure = kernel.recv_failure(&request).await;
        assert!(failure.ename.contains(ename), "{code:?}: {failure:?}");
        assert!(
            !failure.ename.is_empty() && !failure.evalue.is_empty(),
            "{code:?}: {failure:?}"
        );
        assert!(failure.evalue.contains(words), "{code:?}: {failure:?}");
        kernel.assert_works().await;
    }
    assert_eq!(kernel.replies_left_over(), [""; 0]);
}

#[tokio::test]
async fn the_death_of_the_child_is_an_error_and_not_the_end() {
    let mut kernel = Frontend::ready().await;
    kernel.run("let held = vec![1u8, 2, 3];").await;

    // Killed from outside while a cell runs.
    let never = kernel.gate("never");
    let running = format!("print!(\"running\"); {}", until_exists(&never));
    let request = kernel.send_execute(&running).await;
    kernel.recv_busy(&request).await;
    kernel.recv_input(&request).await;
    kernel.recv_stdout(&request, "running").await;
    kill(kernel.child_pid().await);
    let failure = kernel.recv_failure_of_running(&request).await;
    assert_eq!(failure.ename, "Killed");
    assert!(failure.evalue.contains("SIGKILL"), "{failure:?}");
    assert!(
        failure.traceback.contains("held"),
        "it does not say what was lost: {failure:?}"
    );
    kernel.assert_works().await;

    // Killed between two cells: the next one runs in a new process and says so, or fails where that was
    // not seen yet; and the kernel goes on.
    kill(kernel.child_pid().await);
    let request = kernel.send_execute("1 + 1").await;
    let outputs = kernel.recv_until_idle(&request).await;
    let types: Vec<&str> = outputs.iter().map(|it| it.msg_type.as_str()).collect();
    let expected = match types[..] {
        ["stream", "execute_result"] => "ok",
        ["error"] => "error",
        _ => panic!("{outputs:#?}"),
    };
    assert!(
        outputs[0].content.to_string().contains("SIGKILL"),
        "{outputs:#?}"
    );
    let status = kernel.recv_reply(&request).await["status"].take();
    assert_eq!(status, expected, "{outputs:#?}");
    kernel.assert_works().await;

    // What the cell printed before it ended its process is shown.
    let request = kernel
        .send_execute("print!(\"last words\"); std::process::exit(3);")
        .await;
    kernel.recv_busy(&request).await;
    kernel.recv_input(&request).await;
    kernel.recv_stdout(&request, "last words").await;
    kernel.recv_failure_of_running(&request).await;
    kernel.assert_works().await;
}
