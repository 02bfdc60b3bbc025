//! The only owner of the iopub socket: a bounded queue before it. Who sends faster than the
//! socket takes waits, and so does the cell behind it; nothing is dropped here.

use jupyter_protocol::messaging::{IoPubWelcome, JupyterMessage};
use jupyter_zmq_client::{KernelIoPubXPubConnection, SubscriptionEvent};
use tokio::sync::{mpsc, oneshot};

/// Messages that may wait. Text is gathered before, so a message may be hundreds of KiB.
const QUEUE: usize = 256;

enum Item {
    Message(Box<JupyterMessage>),
    Barrier(oneshot::Sender<()>),
}

/// A place to send iopub messages to. Cheap to clone.
#[derive(Clone)]
pub struct IoPub {
    queue: mpsc::Sender<Item>,
}

impl IoPub {
    /// Takes the socket.
    pub fn start(mut connection: KernelIoPubXPubConnection) -> IoPub {
        let (queue, mut items) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    item = items.recv() => match item {
                        Some(Item::Message(message)) => {
                            if let Err(error) = connection.send(*message).await {
                                eprintln!("memtrack-kernel: an iopub message was not sent: {error}");
                            }
                        }
                        Some(Item::Barrier(reached)) => {
                            let _ = reached.send(());
                        }
                        None => return,
                    },
                    event = connection.recv_subscription() => match event {
                        Ok(SubscriptionEvent::Subscribe(subscription)) => {
                            let welcome = IoPubWelcome { subscription };
                            let _ = connection.send(welcome.into()).await;
                        }
                        Ok(SubscriptionEvent::Unsubscribe(_)) => {}
                        Err(error) => {
                            eprintln!("memtrack-kernel: a subscription was not read: {error}");
                            // The socket stays usable for sending; do not spin on its error.
                            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                        }
                    },
                }
            }
        });
        IoPub { queue }
    }

    /// Sends from async code.
    pub async fn send(&self, message: JupyterMessage) {
        let _ = self.queue.send(Item::Message(Box::new(message))).await;
    }

    /// Sends from a thread; waits while the queue is full.
    pub fn send_blocking(&self, message: JupyterMessage) {
        let _ = self.queue.blocking_send(Item::Message(Box::new(message)));
    }

    /// Waits until everything sent before is on its way.
    pub async fn barrier(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.queue.send(Item::Barrier(sender)).await.is_ok() {
            let _ = receiver.await;
        }
    }
}
