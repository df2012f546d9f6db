//! containerd's events, as far as anybody here listens: containers that were deleted, and tasks that have ended.

use containerd_client::{
    events::{ContainerDelete, TaskExit, TaskOom},
    services::v1::{SubscribeRequest, events_client::EventsClient},
    tonic::Request,
    types::Envelope,
};
use prost::Message;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Containerd, Ended, Fault, innermost};

/// What is held for a container goes with it: a task that ends leaves its container.
const DELETED: [&str; 1] = [r#"topic=="/containers/delete""#];
/// How tasks end.
const ENDED: [&str; 2] = [r#"topic=="/tasks/exit""#, r#"topic=="/tasks/oom""#];
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

/// Something about the end of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEvent {
    /// Its namespace, as containerd has it.
    pub namespace: String,
    /// Its container.
    pub container: String,
    /// What happened.
    pub what: TaskEnd,
}

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// Its first process has ended.
    Exited(Ended),
    /// The kernel has killed something in it for its limit of memory.
    OutOfMemory,
}

/// A subscription; ends when it is dropped.
#[derive(Debug)]
pub struct Events<T = Event> {
    events: mpsc::Receiver<T>,
    task: JoinHandle<Result<(), Fault>>,
}

impl Containerd {
    /// Listens from now on. containerd answers the call only with the first event, so a task of its own waits for it.
    #[must_use]
    pub fn subscribe(&self) -> Events {
        self.subscribe_to(&DELETED, Event::read)
    }

    /// The same for ends of tasks.
    #[must_use]
    pub fn subscribe_to_ends(&self) -> Events<TaskEvent> {
        self.subscribe_to(&ENDED, TaskEvent::read)
    }

    fn subscribe_to<T: Send + 'static>(
        &self,
        filters: &[&str],
        read: fn(Envelope) -> Option<T>,
    ) -> Events<T> {
        let (sender, events) = mpsc::channel(QUEUE);
        let filters = filters.iter().map(ToString::to_string).collect();
        let task = tokio::spawn(self.clone().listen(filters, read, sender));
        Events { events, task }
    }

    async fn listen<T>(
        self,
        filters: Vec<String>,
        read: fn(Envelope) -> Option<T>,
        sender: mpsc::Sender<T>,
    ) -> Result<(), Fault> {
        let away = |error: &(dyn std::error::Error + 'static)| Fault::Unavailable {
            path: self.inner.path.clone(),
            why: innermost(error),
        };
        let mut client = EventsClient::new(self.channel().await?);
        let request = SubscribeRequest { filters };
        let answer = client.subscribe(Request::new(request)).await;
        let mut stream = answer.map_err(|status| away(&status))?.into_inner();
        while let Some(envelope) = stream.message().await.map_err(|status| away(&status))? {
            let Some(event) = read(envelope) else {
                continue;
            };
            if sender.send(event).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

impl<T> Events<T> {
    /// The next event; `None` when containerd has gone away.
    pub async fn next(&mut self) -> Option<T> {
        self.events.recv().await
    }
}

impl<T> Drop for Events<T> {
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

impl TaskEvent {
    /// `None` for the end of another process than the first, too.
    fn read(envelope: Envelope) -> Option<Self> {
        let (namespace, topic) = (envelope.namespace, envelope.topic);
        let value = envelope.event?.value;
        let (container, what) = match topic.as_str() {
            "/tasks/oom" => (
                TaskOom::decode(&*value).ok()?.container_id,
                TaskEnd::OutOfMemory,
            ),
            _ => {
                let exit = TaskExit::decode(&*value).ok()?;
                if exit.id != exit.container_id {
                    return None;
                }
                let ended = Ended::new(exit.exit_status, exit.exited_at);
                (exit.container_id, TaskEnd::Exited(ended))
            }
        };
        Some(Self {
            namespace,
            container,
            what,
        })
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{Any, Timestamp};

    use super::*;

    fn envelope(topic: &str, message: &impl Message) -> Envelope {
        Envelope {
            namespace: "default".to_owned(),
            topic: topic.to_owned(),
            event: Some(Any {
                value: message.encode_to_vec(),
                ..Any::default()
            }),
            ..Envelope::default()
        }
    }

    #[test]
    fn only_the_end_of_the_first_process_is_the_end_of_the_task() {
        let exit = |id: &str| TaskExit {
            container_id: "web".to_owned(),
            id: id.to_owned(),
            exit_status: 3,
            exited_at: Some(Timestamp {
                seconds: 7,
                nanos: 5_000_000,
            }),
            ..TaskExit::default()
        };
        let read = |id: &str| TaskEvent::read(envelope("/tasks/exit", &exit(id)));
        assert_eq!(read("shell"), None);
        let ended = Ended {
            status: 3,
            at_ms: 7005,
        };
        assert_eq!(read("web").unwrap().what, TaskEnd::Exited(ended));
        let oom = TaskOom {
            container_id: "web".to_owned(),
        };
        let read = TaskEvent::read(envelope("/tasks/oom", &oom)).unwrap();
        assert_eq!((read.what, &*read.container), (TaskEnd::OutOfMemory, "web"));
    }
}
