use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        time::TimeSpec,
    },
};

const MILLISECOND_NS: u64 = 1_000_000;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to read.
    Read,
    /// Room to write too.
    ReadWrite,
    /// Both, told only when they come.
    Edges,
}

/// What has come.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub key: usize,
    /// Something to read, or the end.
    pub read: bool,
    pub write: bool,
}

/// One epoll set.
pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

impl Poller {
    /// Tells of at most `events_max` sockets at a time.
    pub fn new(events_max: usize) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, events: vec![EpollEvent::empty(); events_max] })
    }

    pub fn add(&self, socket: &impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(socket, EpollEvent::new(interest.flags(), key as u64))?)
    }

    pub fn modify(&self, socket: &impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(socket, &mut EpollEvent::new(interest.flags(), key as u64))?)
    }

    pub fn remove(&self, socket: &impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(socket)?)
    }

    /// Waits until there is something or the time is up, and tells how much there is. Times of whole milliseconds cost one system call, others two.
    pub fn wait(&mut self, at_most_ns: u64) -> io::Result<usize> {
        let whole_ms = if at_most_ns.is_multiple_of(MILLISECOND_NS) {
            u16::try_from(at_most_ns / MILLISECOND_NS).unwrap_or(u16::MAX)
        } else {
            let fd: BorrowedFd<'_> = self.epoll.0.as_fd();
            let time = TimeSpec::from_duration(Duration::from_nanos(at_most_ns));
            match ppoll(&mut [PollFd::new(fd, PollFlags::POLLIN)], Some(time), None) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => return Ok(0),
                Ok(_) => 0,
                Err(error) => return Err(error.into()),
            }
        };
        match self.epoll.wait(&mut self.events, EpollTimeout::from(whole_ms)) {
            Err(nix::errno::Errno::EINTR) => Ok(0),
            other => Ok(other?),
        }
    }

    /// One of what the last wait told.
    pub fn ready(&self, at: usize) -> Ready {
        let event = &self.events[at];
        let flags = event.events();
        let ended = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR | EpollFlags::EPOLLRDHUP;
        Ready {
            key: event.data() as usize,
            read: flags.intersects(EpollFlags::EPOLLIN | ended),
            write: flags.contains(EpollFlags::EPOLLOUT),
        }
    }
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Self::Read => EpollFlags::EPOLLIN,
            Self::ReadWrite => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
            Self::Edges => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET,
        }
    }
}
