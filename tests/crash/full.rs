//! A disk that fills up: what cannot be kept is refused with its reason, everything else goes on, and it heals by itself when there is room.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use thingway::config::{Size, StoreDurability};

use crate::common::{
    client::Client,
    gateway::TestGateway,
    wire::{self, Connect, Version},
};

const QUOTA_EXCEEDED: u8 = 0x97;
const PATIENCE: Duration = Duration::from_secs(60);

/// A small file system in memory, for which one must be root.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "thingway-test"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all room but for `leave` bytes.
    fn fill(&self, leave: u64) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).expect("a file");
        let mut written = 0;
        loop {
            match file.write(&[0; 64 * 1024]) {
                Ok(count) => written += count as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
        file.set_len(written.saturating_sub(leave)).expect("made shorter");
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Publishes with a number in front of a long payload; the acknowledgement's reason.
async fn publish(publisher: &mut Client, number: u32) -> u8 {
    let payload = format!("{number} {}", "x".repeat(8 * 1024));
    let id = publisher.packet_id();
    publisher.send(&wire::publish(Version::V5, "kept/t", payload.as_bytes(), 1, id, &[])).await;
    publisher.puback(id).await.code
}

/// Publishes messages from this number on until one is refused; the number after that one.
async fn publish_until_full(publisher: &mut Client, from: u32, acknowledged: &mut Vec<u32>) -> u32 {
    for number in from..100_000 {
        match publish(publisher, number).await {
            0 => acknowledged.push(number),
            code => {
                assert_eq!(code, QUOTA_EXCEEDED);
                return number + 1;
            }
        }
    }
    panic!("the disk is never full");
}

#[tokio::test]
async fn a_full_disk_refuses_and_heals() {
    let Some(disk) = SmallDisk::mount("96m") else {
        println!("skipped: a_full_disk_refuses_and_heals must mount a small file system, which takes root");
        return;
    };
    let gateway = TestGateway::with(|config| {
        config.gateway.data_dir = disk.path().join("data");
        config.store.durability = StoreDurability::Fsync;
        config.queue.offline_bytes_max = Size::mib(512);
        config.queue.offline_messages_max = 1_000_000;
    })
    .await;
    let persistent = Connect::new(Version::V5, "away").persistent();
    let (mut away, _) = gateway.connect(&persistent).await;
    assert_eq!(away.subscribe("kept/#", 1).await, 1);
    away.disconnect().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let (mut number, mut acknowledged) = (0, Vec::new());
    for _ in 0..10 {
        assert_eq!(publish(&mut publisher, number).await, 0);
        acknowledged.push(number);
        number += 1;
    }

    let filler = disk.fill(1 << 20);
    number = publish_until_full(&mut publisher, number, &mut acknowledged).await;

    // Who needs nothing kept notices nothing; who does is told.
    let mut present = gateway.client(Version::V5, "present").await;
    assert_eq!(present.subscribe("other", 1).await, 1);
    publisher.publish("other", "still here", 1).await;
    let message = present.expect_message().await;
    assert_eq!(message.text(), "still here");
    let mut refused = gateway.open(Version::V5).await;
    refused.send(&Connect::new(Version::V5, "another").persistent().bytes()).await;
    assert_eq!(refused.connack().await.code, QUOTA_EXCEEDED);

    fs::remove_file(filler).expect("removed");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let code = publish(&mut publisher, number).await;
        if code == 0 {
            acknowledged.push(number);
            break;
        }
        assert_eq!(code, QUOTA_EXCEEDED);
        assert!(Instant::now() < deadline, "it does not heal");
        number += 1;
    }

    let (mut away, connack) = gateway.connect(&persistent).await;
    assert!(connack.session_present);
    for expected in acknowledged {
        let message = away.expect_publish().await;
        away.acknowledge(&message).await;
        let number = message.text().split(' ').next().map(str::parse);
        assert_eq!(number, Some(Ok(expected)));
    }
    away.expect_nothing(&mut publisher).await;
}

/// It begins where there is no room, as after a power cut that found a full disk.
#[tokio::test]
async fn a_gateway_starts_on_a_full_disk_and_serves_what_it_has() {
    let Some(disk) = SmallDisk::mount("96m") else {
        println!(
            "skipped: a_gateway_starts_on_a_full_disk_and_serves_what_it_has must mount a small file system, which takes root"
        );
        return;
    };
    let start = || {
        TestGateway::with(|config| {
            config.gateway.data_dir = disk.path().join("data");
            config.store.durability = StoreDurability::Fsync;
            config.queue.offline_bytes_max = Size::mib(512);
            config.queue.offline_messages_max = 1_000_000;
        })
    };
    let gateway = start().await;
    let persistent = Connect::new(Version::V5, "away").persistent();
    let (mut away, _) = gateway.connect(&persistent).await;
    assert_eq!(away.subscribe("kept/#", 1).await, 1);
    away.disconnect().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    for number in 0..10 {
        assert_eq!(publish(&mut publisher, number).await, 0);
    }
    publisher.send(&wire::publish_with(0x33, Version::V5, "state", b"on", 50, &[])).await;
    assert_eq!(publisher.puback(50).await.code, 0);
    // What room the store has left in its own files is used up as well.
    let filler = disk.fill(0);
    let mut acknowledged: Vec<_> = (0..10).collect();
    let mut number = publish_until_full(&mut publisher, 10, &mut acknowledged).await;
    gateway.into_gateway().drain(Duration::from_secs(5)).await;

    let gateway = start().await;
    let mut present = gateway.client(Version::V5, "present").await;
    assert_eq!(present.subscribe("state", 1).await, 1);
    assert_eq!(present.expect_message().await.text(), "on");
    assert_eq!(present.subscribe("other", 1).await, 1);
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    publisher.publish("other", "at once", 1).await;
    assert_eq!(present.expect_message().await.text(), "at once");
    // A start makes a little room in the store's own files.
    number = publish_until_full(&mut publisher, number, &mut acknowledged).await;

    fs::remove_file(filler).expect("removed");
    let deadline = Instant::now() + PATIENCE;
    acknowledged.push(number);
    while publish(&mut publisher, number).await != 0 {
        assert!(Instant::now() < deadline, "it does not heal");
    }
    let (mut away, connack) = gateway.connect(&persistent).await;
    assert!(connack.session_present);
    for expected in acknowledged {
        let message = away.expect_publish().await;
        away.acknowledge(&message).await;
        let number = message.text().split(' ').next().map(str::parse);
        assert_eq!(number, Some(Ok(expected)));
    }
    away.expect_nothing(&mut publisher).await;
}
