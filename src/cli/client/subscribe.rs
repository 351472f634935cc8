use tokio::time::timeout;

use super::{arguments::SubscribeArguments, conversation::Client, error::ClientError, print::print};

/// Why `sub` ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All messages that were asked for have come, or nobody reads them any more.
    Enough,
    /// The time is up.
    TimedOut,
}

/// Subscribes and prints what comes.
pub async fn subscribe(mut client: impl Client, arguments: &SubscribeArguments) -> Result<Ended, ClientError> {
    let ended = {
        let work = receive(&mut client, arguments);
        match arguments.timeout {
            None => work.await?,
            Some(limit) => match timeout(limit.duration(), work).await {
                Ok(ended) => ended?,
                Err(_) => Ended::TimedOut,
            },
        }
    };
    client.close().await?;
    Ok(ended)
}

async fn receive(client: &mut impl Client, arguments: &SubscribeArguments) -> Result<Ended, ClientError> {
    client.subscribe(arguments).await?;
    let mut left = arguments.count.unwrap_or(u64::MAX);
    while left != 0 {
        let message = client.next().await?;
        if !(arguments.no_retained && message.retain) {
            left -= 1;
            // Somebody like `head` has had enough.
            if print(message, arguments).is_err() {
                return Ok(Ended::Enough);
            }
        }
        client.acknowledge().await?;
    }
    client.settle().await?;
    Ok(Ended::Enough)
}
