//! containerd's events, as far as anybody here listens: containers that were deleted.

use containerd_client::{
    events::ContainerDelete,
    services::v1::{SubscribeRequest, events_client::EventsClient},
    tonic::Request,
    types::Envelope,
};
use prost::Message;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Containerd, Fault, innermost};

/// Only this one matters: a task that ends leaves its container, and with it all that is held for it.
const FILTER: &str = r#"topic=="/containers/delete""#;
/// Events that wait for their listener; more stay with containerd.
const QUEUE: usize = 256;

/// A container was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its namespace, as containerd has it.
    pub namespace: String,
    /// Its id.
    pub container: String,
}

/// A subscription; ends when it is dropped.
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<Event>,
    task: JoinHandle<Result<(), Fault>>,
}

impl Containerd {
    /// Listens from now on. containerd answers the call only with the first event, so a task of its own waits for it.
    #[must_use]
    pub fn subscribe(&self) -> Events {
        let (sender, events) = mpsc::channel(QUEUE);
        let task = tokio::spawn(self.clone().listen(sender));
        Events { events, task }
    }

    async fn listen(self, sender: mpsc::Sender<Event>) -> Result<(), Fault> {
        let away = |error: &(dyn std::error::Error + 'static)| Fault::Unavailable {
            path: self.inner.path.clone(),
            why: innermost(error),
        };
        let mut client = EventsClient::new(self.channel().await?);
        let request = SubscribeRequest {
            filters: vec![FILTER.to_owned()],
        };
        let answer = client.subscribe(Request::new(request)).await;
        let mut stream = answer.map_err(|status| away(&status))?.into_inner();
        while let Some(envelope) = stream.message().await.map_err(|status| away(&status))? {
            let Some(event) = Event::read(envelope) else {
                continue;
            };
            if sender.send(event).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

impl Events {
    /// The next event; `None` when containerd has gone away.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Event {
    fn read(envelope: Envelope) -> Option<Self> {
        let deleted = ContainerDelete::decode(&*envelope.event?.value).ok()?;
        Some(Self {
            namespace: envelope.namespace,
            container: deleted.id,
        })
    }
}
