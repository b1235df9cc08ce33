//! How do replicas share one limit? Tokens leased from a Redis or Valkey server, a [`Purse`] for each limit.
//!
//! A request takes its token from the purse, on whatever thread it is. A purse that needs more says so to its
//! [`Lenders`] task on the control runtime, which asks the server in one round trip and puts the answer in. Most requests
//! take a token that is there; one that finds none waits as long as its own patience lasts, then takes the local share.
//! When to ask, how much, and what happens while the server is away is decided by [`crate::policy::lease`]; it asks once
//! a second then, so an absent server is called that often and no queue grows before it.

mod purse;
mod server;

use std::sync::Arc;

use tokio::task::JoinHandle;

pub use self::purse::{Account, Purse, Take, Token};
use self::server::Server;

/// The tasks that ask stores, one a purse and each with a connection of its own: there are few, and none waits for
/// another.
#[derive(Debug, Default)]
pub struct Lenders {
    running: Vec<(Arc<Purse>, JoinHandle<()>)>,
}

impl Lenders {
    /// Serves these purses and no others. Call it on the runtime that is to do it; it reaches for no server yet.
    pub fn serve<'p>(&mut self, purses: impl Iterator<Item = &'p Arc<Purse>>) {
        let mut next = Vec::new();
        for purse in purses {
            let known = self.running.iter().position(|(known, _)| Arc::ptr_eq(known, purse));
            next.push(match known {
                Some(nth) => self.running.swap_remove(nth),
                None => (Arc::clone(purse), tokio::spawn(lend(Arc::clone(purse)))),
            });
        }
        self.stop();
        self.running = next;
    }

    fn stop(&mut self) {
        self.running.drain(..).for_each(|(_, task)| task.abort());
    }
}

impl Drop for Lenders {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn lend(purse: Arc<Purse>) {
    let mut server = Server::of(purse.account(), purse.replica());
    let mut away = false;
    loop {
        let (class, tokens) = purse.asked().await;
        let answer = server.lease(class, tokens).await;
        let Account { store, key, .. } = purse.account();
        match &answer {
            Ok(_) if away => tracing::info!(%store, key, "the store is back: the limit is shared again"),
            Err(error) if !away => {
                tracing::warn!(%store, key, %error, "the store is away: each replica has its share of the limit");
            }
            _ => {}
        }
        away = answer.is_err();
        purse.answered(class, answer.ok());
    }
}

#[cfg(test)]
mod tests;
