use std::{fs, io, io::BufRead, thread};

use tokio::{sync::mpsc, time::sleep};

use super::{arguments::PublishArguments, conversation::Client, error::ClientError};

/// Publishes what the arguments say, and ends.
pub async fn publish(mut client: impl Client, arguments: &PublishArguments) -> Result<(), ClientError> {
    if arguments.stdin_line {
        let mut lines = lines();
        while let Some(line) = while_waiting(&mut client, lines.recv()).await? {
            client.publish(arguments, &line?).await?;
        }
    } else {
        let payload = match (&arguments.file, &arguments.message) {
            (Some(path), _) => fs::read(path)?,
            (None, Some(text)) => text.clone().into_bytes(),
            (None, None) => Vec::new(),
        };
        for round in 0..arguments.repeat {
            if round != 0 && !arguments.repeat_delay.is_zero() {
                while_waiting(&mut client, sleep(arguments.repeat_delay.duration())).await?;
            }
            client.publish(arguments, &payload).await?;
        }
    }
    client.close().await
}

/// Waits for something else and keeps the connection alive meanwhile. Messages for an earlier session of this client stay with the server.
async fn while_waiting<T>(client: &mut impl Client, work: impl Future<Output = T>) -> Result<T, ClientError> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            message = client.next() => { message?; }
        }
    }
}

/// Lines of standard input, without their ends. Reading blocks a thread of its own, which ends with the program.
fn lines() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(16);
    thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let line = line.map(|mut line| {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                line
            });
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
