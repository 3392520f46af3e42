//! Questions to shards: bounded in number by their mailboxes, in time here. A shard that does not answer is told apart
//! from one that has nothing to say.

use std::{rc::Rc, time::Duration};

use crate::{
    ids::ShardId,
    shard::report::{Answer, Question},
};

/// How long a shard may take: a thousand times what it needs, and short enough for a person and a scraper to wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// The shards as the services see them: something that takes mail.
pub trait Shards: Send {
    /// How many there are; their numbers begin at 0.
    fn count(&self) -> usize;

    /// Mails `question` to `shard`, which calls `reply` on its own thread. `false`: its mailbox is full, or it has ended.
    fn ask(
        &self,
        shard: ShardId,
        question: Question,
        reply: Box<dyn FnOnce(Answer) + Send>,
    ) -> bool;
}

/// A shard did not answer: its mailbox is full, it has ended, or it is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shard {} does not answer", .0.0)]
pub(super) struct Silent(pub(super) ShardId);

/// Asks, and waits for what it was asked for.
#[derive(Clone)]
pub(super) struct Asker(Rc<dyn Shards>);

impl Asker {
    pub(super) fn new(shards: Box<dyn Shards>) -> Self {
        Self(shards.into())
    }

    /// Every shard's number.
    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..u8::try_from(self.0.count()).unwrap_or(u8::MAX)).map(ShardId)
    }

    /// One shard's answer.
    pub(super) async fn one(&self, shard: ShardId, question: Question) -> Result<Answer, Silent> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        // Nobody may wait for the answer any more when it comes; then it goes nowhere.
        let reply = Box::new(move |answer| drop(tx.send(answer)));
        if !self.0.ask(shard, question, reply) {
            return Err(Silent(shard));
        }
        match tokio::time::timeout(PATIENCE, rx).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Silent(shard)),
        }
    }

    /// Every shard's answer to the same question, asked at the same time.
    pub(super) async fn all(&self, question: &Question) -> Vec<(ShardId, Result<Answer, Silent>)> {
        let waiting: Vec<_> = self
            .shards()
            .map(|shard| {
                let (asker, question) = (self.clone(), question.clone());
                let answer =
                    tokio::task::spawn_local(async move { asker.one(shard, question).await });
                (shard, answer)
            })
            .collect();
        let mut answers = Vec::with_capacity(waiting.len());
        for (shard, answer) in waiting {
            let answer = answer.await.unwrap_or(Err(Silent(shard)));
            answers.push((shard, answer));
        }
        answers
    }
}
