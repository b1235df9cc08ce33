//! What does the store say? One script, run by a Redis or Valkey server in one round trip.

use std::fmt;
use std::time::Duration;

use outrigger_config::model::priority::Class;
use outrigger_config::model::{RateLimit, Store};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, RedisConnectionInfo, RedisError, RedisResult};

use super::Account;
use crate::policy::lease::{Grant, RETRY};
use crate::policy::priority::cap;

/// Counts and decides, atomically and by the server's clock. A kilobyte, sent each time: leases are rare, and a server that
/// was restarted knows it at once.
const SCRIPT: &str = include_str!("lease.lua");
/// A round trip, the connection before it included. Over before [`RETRY`], so one is on its way at a time.
const TRIP: Duration = Duration::from_millis(500);
const _: () = assert!(TRIP.as_millis() < RETRY.as_millis());
/// Who has not asked for so long shares no more.
const SHARER_LIFE: Duration = Duration::from_secs(10);

/// A server, and the connection to it if there is one.
#[derive(Debug)]
pub(super) struct Server {
    account: Account,
    replica: String,
    connection: Option<MultiplexedConnection>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum StoreError {
    /// It cannot be reached, or refuses.
    Redis(RedisError),
    /// It did not answer in time.
    Late,
    /// It answered no sense.
    Nonsense,
}

impl Server {
    /// Not yet connected.
    pub(super) fn of(account: &Account, replica: u64) -> Self {
        Self { account: account.clone(), replica: format!("{replica:016x}"), connection: None }
    }

    /// Asks for tokens that a class may have. After an error the next one begins with a new connection.
    pub(super) async fn lease(&mut self, class: Class, tokens: u32) -> Result<Grant, StoreError> {
        let connection = self.connection.take();
        let trip = tokio::time::timeout(TRIP, self.trip(connection, class, tokens)).await;
        let (connection, (granted, wait, sharers, left)) =
            trip.map_err(|_| StoreError::Late)?.map_err(StoreError::Redis)?;
        let retry_after = Duration::from_micros(wait);
        if granted > tokens || retry_after > full_in(self.account.limit) + RETRY {
            return Err(StoreError::Nonsense);
        }
        self.connection = Some(connection);
        Ok(Grant { tokens: granted, retry_after, sharers, left })
    }

    async fn trip(
        &self,
        connection: Option<MultiplexedConnection>,
        class: Class,
        tokens: u32,
    ) -> RedisResult<(MultiplexedConnection, (u32, u64, u32, u32))> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => connect(&self.account.store).await?,
        };
        let Account { key, limit, shares, .. } = &self.account;
        let (gap, depth) = micros(*limit);
        let (_, own) = micros(RateLimit { burst: cap(shares, class, limit.burst.max(1)), ..*limit });
        let answer = redis::cmd("EVAL")
            .arg(SCRIPT)
            .arg(2)
            .arg(format!("{key}:cell"))
            .arg(format!("{key}:sharers"))
            .arg(gap)
            .arg(depth)
            .arg(tokens)
            .arg(&self.replica)
            .arg(SHARER_LIFE.as_micros().to_string())
            .arg(own)
            .query_async(&mut connection)
            .await?;
        Ok((connection, answer))
    }
}

async fn connect(store: &Store) -> RedisResult<MultiplexedConnection> {
    let settings = RedisConnectionInfo::default().set_db(i64::from(store.database));
    let info = (store.host.as_str(), store.port).into_connection_info()?.set_redis_settings(settings);
    // A script of more than one segment must not wait for the first one's acknowledgement.
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    Client::open(info)?.get_multiplexed_async_connection().await
}

/// A token's worth and the bucket's depth, in microseconds: the server's clock knows no less.
fn micros(RateLimit { rate, burst }: RateLimit) -> (f64, f64) {
    let gap = 1e6 / rate;
    (gap, gap * f64::from(burst.max(1)))
}

/// An empty bucket; nobody waits longer.
fn full_in(limit: RateLimit) -> Duration {
    let (_, depth) = micros(limit);
    Duration::try_from_secs_f64(depth / 1e6).unwrap_or(Duration::from_micros(u64::MAX))
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(error) => error.fmt(f),
            Self::Late => write!(f, "no answer within {TRIP:?}"),
            Self::Nonsense => {
                f.write_str("an answer that makes no sense: is another program using its keys?")
            }
        }
    }
}
