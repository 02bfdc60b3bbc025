//! Many cells in a row: nothing is lost, nothing comes out of order.

use crate::frontend::Frontend;

#[tokio::test]
async fn every_idle_is_seen_and_in_order() {
    let mut kernel = Frontend::ready().await;

    let mut requests = Vec::new();
    for _ in 0..200 {
        requests.push(kernel.send_execute("%memtrack off").await);
    }
    for (request, number) in requests.iter().zip(1..) {
        for (msg_type, state) in [
            ("status", "busy"),
            ("execute_input", ""),
            ("status", "idle"),
        ] {
            let message = kernel.recv_any_iopub().await;
            assert!(
                message.answers(request),
                "cell {number}: {message:?} is another cell's"
            );
            assert_eq!(
                message.msg_type, msg_type,
                "cell {number}: {:?}",
                message.content
            );
            match state {
                "" => assert_eq!(message.content["execution_count"], number),
                state => assert_eq!(message.content["execution_state"], state),
            }
        }
        let reply = kernel.recv_reply(request).await;
        assert_eq!(
            (&reply["status"], &reply["execution_count"]),
            (&"ok".into(), &number.into())
        );
    }

    for number in 201..=230 {
        let request = kernel.send_execute("1 + 1").await;
        kernel.recv_busy(&request).await;
        assert_eq!(kernel.recv_input(&request).await, number);
        assert_eq!(kernel.recv_result(&request).await["text/plain"], "2");
        kernel.recv_idle(&request).await;
        assert_eq!(kernel.recv_reply(&request).await["execution_count"], number);
    }
    assert_eq!(kernel.replies_left_over(), [""; 0]);
}
