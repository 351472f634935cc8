//! Records and rows as bytes. Every record begins with its kind; a block is records one after another.

use std::{ops::Range, sync::Arc};

use smallvec::SmallVec;
use thingway_contract::{
    ClientId, Instant, Message, MessageHead, Observation, Properties, PublisherKey, Qos, Rare, Resumption,
    RetainHandling, ShareName, SubscriptionOptions, TopicFilter, TopicId, TopicLimits, Will, WillFate,
};

use crate::{
    Attach, Cause, Exchange, Extras, Publish, Record, Target, WallMs,
    wire::{Put, Take},
};

/// Tells the wall's time from the gateway's clock, which begins with the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(
    /// Milliseconds since 1970 at the clock's zero.
    pub WallMs,
);

impl Epoch {
    /// The wall's time at an instant; `u64::MAX` for never.
    pub const fn wall(self, at: Instant) -> WallMs {
        if at.is_never() { u64::MAX } else { self.0.saturating_add(at.as_millis()) }
    }

    /// The instant of a wall's time; the clock's zero for one before it.
    pub const fn instant(self, at: WallMs) -> Instant {
        if at == u64::MAX { Instant::NEVER } else { Instant::from_millis(at.saturating_sub(self.0)) }
    }
}

/// Publications of an earlier run: nobody's of this one, and not the gateway's own.
const EARLIER_RUN: PublisherKey = PublisherKey(u64::MAX);

const LIMITS: TopicLimits = TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX };

mod kind {
    pub const ATTACH: u8 = 1;
    pub const DETACH: u8 = 2;
    pub const END: u8 = 3;
    pub const SET_WILL: u8 = 4;
    pub const KEEP: u8 = 5;
    pub const SUBSCRIBE: u8 = 6;
    pub const UNSUBSCRIBE: u8 = 7;
    pub const PUBLISH: u8 = 8;
    pub const DELAY: u8 = 9;
    pub const SPENT: u8 = 10;
    pub const ACKNOWLEDGED: u8 = 11;
    pub const RECEIVED: u8 = 12;
    pub const RELEASED: u8 = 13;
    pub const RESTARTED: u8 = 14;
}

impl Record {
    /// Appends it to a block.
    pub fn encode(&self, epoch: Epoch, out: &mut Vec<u8>) {
        match self {
            Self::Attach(attach) => {
                out.push(kind::ATTACH);
                out.bytes(attach.client_id.as_bytes());
                out.number(attach.expiry_secs.into());
                out.push(attach.keep_will.into());
                put_will(attach.will.as_deref(), epoch, out);
            }
            Self::Detach { session, attach, at, expiry_secs, will, unsent } => {
                out.push(kind::DETACH);
                out.number(*session);
                out.number(*attach);
                out.number(*at);
                out.number(expiry_secs.map_or(0, |secs| u64::from(secs) + 1));
                out.push(match will {
                    WillFate::Publish => 0,
                    WillFate::Discard => 1,
                    WillFate::Keep => 2,
                });
                out.number((*unsent).into());
            }
            Self::End { session } => {
                out.push(kind::END);
                out.number(*session);
            }
            Self::SetWill { session, will } => {
                out.push(kind::SET_WILL);
                out.number(*session);
                put_will(will.as_deref(), epoch, out);
            }
            Self::Keep { session, extras } => {
                out.push(kind::KEEP);
                out.number(*session);
                put_extras(extras, epoch, out);
            }
            Self::Subscribe { session, filter, options } => {
                out.push(kind::SUBSCRIBE);
                out.number(*session);
                out.bytes(filter.to_string().as_bytes());
                put_options(*options, out);
            }
            Self::Unsubscribe { session, filter } => {
                out.push(kind::UNSUBSCRIBE);
                out.number(*session);
                out.bytes(filter.to_string().as_bytes());
            }
            Self::Publish(publish) => {
                out.push(kind::PUBLISH);
                put_publish(publish, epoch, out);
            }
            Self::Delay { id, due, message, exchange } => {
                out.push(kind::DELAY);
                out.number(*id);
                out.number(*due);
                put_exchange(*exchange, out);
                put_message(message, epoch, out);
            }
            Self::Spent(cause) => {
                out.push(kind::SPENT);
                put_cause(*cause, out);
            }
            Self::Acknowledged(exchange) => put_kind_exchange(kind::ACKNOWLEDGED, *exchange, out),
            Self::Received(exchange) => put_kind_exchange(kind::RECEIVED, *exchange, out),
            Self::Released(exchange) => put_kind_exchange(kind::RELEASED, *exchange, out),
            Self::Restarted { at } => {
                out.push(kind::RESTARTED);
                out.number(*at);
            }
        }
    }

    /// Takes the first record off a block; `None` when it is not one.
    pub(crate) fn decode(take: &mut Take<'_>, epoch: Epoch) -> Option<Self> {
        Some(match take.byte()? {
            kind::ATTACH => {
                let client_id = ClientId::new(take.text()?, usize::MAX).ok()?;
                let expiry_secs = take.int()?;
                let keep_will = take.byte()? != 0;
                let will = take_will(take, epoch)?;
                Self::Attach(Box::new(Attach { client_id, expiry_secs, will, keep_will }))
            }
            kind::DETACH => Self::Detach {
                session: take.number()?,
                attach: take.number()?,
                at: take.number()?,
                expiry_secs: match take.number()? {
                    0 => None,
                    secs => Some(u32::try_from(secs - 1).ok()?),
                },
                will: match take.byte()? {
                    0 => WillFate::Publish,
                    1 => WillFate::Discard,
                    2 => WillFate::Keep,
                    _ => return None,
                },
                unsent: take.short()?,
            },
            kind::END => Self::End { session: take.number()? },
            kind::SET_WILL => Self::SetWill { session: take.number()?, will: take_will(take, epoch)? },
            kind::KEEP => Self::Keep { session: take.number()?, extras: Box::new(take_extras(take, epoch)?) },
            kind::SUBSCRIBE => {
                Self::Subscribe { session: take.number()?, filter: take_filter(take)?, options: take_options(take)? }
            }
            kind::UNSUBSCRIBE => Self::Unsubscribe { session: take.number()?, filter: take_filter(take)? },
            kind::PUBLISH => Self::Publish(Arc::new(take_publish(take, epoch)?)),
            kind::DELAY => {
                let (id, due) = (take.number()?, take.number()?);
                let exchange = take_exchange(take)?;
                Self::Delay { id, due, message: take_message(take, epoch)?, exchange }
            }
            kind::SPENT => Self::Spent(take_cause(take)?),
            kind::ACKNOWLEDGED => Self::Acknowledged(take_whole_exchange(take)?),
            kind::RECEIVED => Self::Received(take_whole_exchange(take)?),
            kind::RELEASED => Self::Released(take_whole_exchange(take)?),
            kind::RESTARTED => Self::Restarted { at: take.number()? },
            _ => return None,
        })
    }
}

pub(crate) fn put_publish(publish: &Publish, epoch: Epoch, out: &mut Vec<u8>) {
    put_exchange(publish.exchange, out);
    put_cause(publish.cause, out);
    out.push(publish.retains.into());
    out.number(publish.targets.len() as u64);
    for target in &publish.targets {
        put_target(target, out);
    }
    put_message(&publish.message, epoch, out);
}

pub(crate) fn take_publish(take: &mut Take<'_>, epoch: Epoch) -> Option<Publish> {
    let exchange = take_exchange(take)?;
    let cause = take_cause(take)?;
    let retains = take.byte()? != 0;
    let count = take.number()?;
    let mut targets = SmallVec::new();
    for _ in 0..count {
        targets.push(take_target(take)?);
    }
    Some(Publish { exchange, cause, retains, targets, message: take_message(take, epoch)? })
}

fn put_target(target: &Target, out: &mut Vec<u8>) {
    let flags = target.qos as u8 | u8::from(target.retain) << 2 | u8::from(target.rare.is_some()) << 3;
    out.push(flags);
    out.number(target.session);
    out.number(target.subscription_id.into());
    if let Some(rare) = &target.rare {
        out.number(rare.further_subscription_ids.len() as u64);
        for &id in &rare.further_subscription_ids {
            out.number(id.into());
        }
        out.push(rare.share.is_some().into());
        if let Some(share) = &rare.share {
            put_share(share, out);
        }
    }
}

fn take_target(take: &mut Take<'_>) -> Option<Target> {
    let flags = take.byte()?;
    let session = take.number()?;
    let subscription_id = take.int()?;
    let rare = if flags & 8 != 0 {
        let count = take.number()?;
        let mut further_subscription_ids = SmallVec::new();
        for _ in 0..count {
            further_subscription_ids.push(take.int()?);
        }
        let share = if take.byte()? != 0 { Some(take_share(take)?) } else { None };
        Some(Arc::new(Rare { further_subscription_ids, share, ..Rare::default() }))
    } else {
        None
    };
    Some(Target { session, qos: Qos::from_u8(flags & 3)?, retain: flags & 4 != 0, subscription_id, rare })
}

pub(crate) fn put_share(share: &ShareName, out: &mut Vec<u8>) {
    out.bytes(share.group.as_bytes());
    out.bytes(share.filter.as_bytes());
}

pub(crate) fn take_share(take: &mut Take<'_>) -> Option<ShareName> {
    Some(ShareName { group: take.text()?.into(), filter: take.text()?.into() })
}

pub(crate) fn put_message(message: &Message, epoch: Epoch, out: &mut Vec<u8>) {
    let head = message.head();
    let expires = !head.expires_at.is_never();
    let properties = message.properties().as_bytes();
    let own = head.publisher == PublisherKey::default();
    let flags = head.qos as u8
        | u8::from(head.retain) << 2
        | u8::from(expires) << 3
        | u8::from(!properties.is_empty()) << 4
        | u8::from(own) << 5;
    out.push(flags);
    out.number(epoch.wall(head.received_at));
    if expires {
        out.number(epoch.wall(head.expires_at));
    }
    out.bytes(message.topic_bytes());
    if !properties.is_empty() {
        out.bytes(properties);
    }
    out.bytes(message.payload());
}

pub(crate) fn take_message(take: &mut Take<'_>, epoch: Epoch) -> Option<Message> {
    let flags = take.byte()?;
    let received_at = epoch.instant(take.number()?);
    let expires_at = if flags & 8 != 0 { epoch.instant(take.number()?) } else { Instant::NEVER };
    let before = take.0;
    let offset = |part: &[u8]| -> Range<usize> {
        let start = part.as_ptr().addr() - before.as_ptr().addr();
        start..start + part.len()
    };
    let topic = offset(take.text()?.as_bytes());
    let properties = if flags & 16 != 0 {
        let properties = take.bytes()?;
        Properties::parse(properties).ok()?;
        offset(properties)
    } else {
        0..0
    };
    let payload = offset(take.bytes()?);
    let body = before.get(..payload.end).filter(|body| u32::try_from(body.len()).is_ok())?;
    let publisher = if flags & 32 != 0 { PublisherKey::default() } else { EARLIER_RUN };
    let head =
        MessageHead { qos: Qos::from_u8(flags & 3)?, retain: flags & 4 != 0, publisher, received_at, expires_at };
    Some(Message::from_body(head, body, topic, properties, payload.start))
}

fn put_exchange(exchange: Option<Exchange>, out: &mut Vec<u8>) {
    let Exchange { session, packet_id } = exchange.unwrap_or(Exchange { session: 0, packet_id: 0 });
    out.number(packet_id.into());
    if packet_id != 0 {
        out.number(session);
    }
}

fn take_exchange(take: &mut Take<'_>) -> Option<Option<Exchange>> {
    Some(match take.short()? {
        0 => None,
        packet_id => Some(Exchange { packet_id, session: take.number()? }),
    })
}

fn put_kind_exchange(kind: u8, exchange: Exchange, out: &mut Vec<u8>) {
    out.push(kind);
    out.number(exchange.session);
    out.number(exchange.packet_id.into());
}

fn take_whole_exchange(take: &mut Take<'_>) -> Option<Exchange> {
    Some(Exchange { session: take.number()?, packet_id: take.short()? })
}

fn put_cause(cause: Cause, out: &mut Vec<u8>) {
    match cause {
        Cause::None => out.push(0),
        Cause::Will(session) => {
            out.push(1);
            out.number(session);
        }
        Cause::Delayed(id) => {
            out.push(2);
            out.number(id);
        }
    }
}

fn take_cause(take: &mut Take<'_>) -> Option<Cause> {
    Some(match take.byte()? {
        0 => Cause::None,
        1 => Cause::Will(take.number()?),
        2 => Cause::Delayed(take.number()?),
        _ => return None,
    })
}

pub(crate) fn put_will(will: Option<&Will>, epoch: Epoch, out: &mut Vec<u8>) {
    out.push(will.is_some().into());
    if let Some(will) = will {
        out.number(will.delay_secs.into());
        out.number(will.expiry_secs.map_or(0, |secs| u64::from(secs) + 1));
        put_message(&will.message, epoch, out);
    }
}

pub(crate) fn take_will(take: &mut Take<'_>, epoch: Epoch) -> Option<Option<Box<Will>>> {
    if take.byte()? == 0 {
        return Some(None);
    }
    let delay_secs = take.int()?;
    let expiry_secs = match take.number()? {
        0 => None,
        secs => Some(u32::try_from(secs - 1).ok()?),
    };
    Some(Some(Box::new(Will { message: take_message(take, epoch)?, delay_secs, expiry_secs })))
}

pub(crate) fn put_options(options: SubscriptionOptions, out: &mut Vec<u8>) {
    let handling = match options.retain_handling {
        RetainHandling::Send => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::DoNotSend => 2,
    };
    out.push(
        options.qos as u8
            | u8::from(options.no_local) << 2
            | u8::from(options.retain_as_published) << 3
            | handling << 4,
    );
    out.number(options.id.into());
}

pub(crate) fn take_options(take: &mut Take<'_>) -> Option<SubscriptionOptions> {
    let flags = take.byte()?;
    Some(SubscriptionOptions {
        qos: Qos::from_u8(flags & 3)?,
        no_local: flags & 4 != 0,
        retain_as_published: flags & 8 != 0,
        retain_handling: match flags >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return None,
        },
        id: take.int()?,
    })
}

/// A filter that was checked when it was subscribed to: the operator's limits may be others now.
pub(crate) fn take_filter(take: &mut Take<'_>) -> Option<TopicFilter> {
    TopicFilter::parse(take.text()?, LIMITS).ok()
}

pub(crate) fn parse_filter(text: &[u8]) -> Option<TopicFilter> {
    TopicFilter::parse(std::str::from_utf8(text).ok()?, LIMITS).ok()
}

pub(crate) fn put_extras(extras: &Extras, epoch: Epoch, out: &mut Vec<u8>) {
    out.number(extras.sleep_secs.into());
    out.push(extras.resumption.is_some().into());
    if let Some(Resumption { key, until }) = extras.resumption {
        out.number(key);
        out.number(epoch.wall(until));
    }
    out.number(extras.topic_ids.len() as u64);
    for TopicId { id, name, known } in &extras.topic_ids {
        out.number(u64::from(*id) << 1 | u64::from(*known));
        out.bytes(name.as_bytes());
    }
    out.number(extras.observations.len() as u64);
    for observation in &extras.observations {
        out.bytes(&observation.token);
        out.bytes(observation.filter.to_string().as_bytes());
        put_options(observation.options, out);
        out.number(observation.key);
        out.number(observation.sequence.into());
        out.number(observation.accept.map_or(0, |accept| u64::from(accept) + 1));
        out.push(observation.block_exponent);
        out.number(observation.check_secs.into());
        out.push(observation.ends_when_empty.into());
        out.number(epoch.wall(observation.ends_at));
    }
}

pub(crate) fn take_extras(take: &mut Take<'_>, epoch: Epoch) -> Option<Extras> {
    let mut extras = Extras { sleep_secs: take.short()?, ..Extras::default() };
    if take.byte()? != 0 {
        extras.resumption = Some(Resumption { key: take.number()?, until: epoch.instant(take.number()?) });
    }
    for _ in 0..take.number()? {
        let number = take.number()?;
        let name = take.text()?.into();
        extras.topic_ids.push(TopicId { id: u16::try_from(number >> 1).ok()?, name, known: number & 1 != 0 });
    }
    for _ in 0..take.number()? {
        extras.observations.push(Observation {
            token: take.bytes()?.into(),
            filter: take_filter(take)?,
            options: take_options(take)?,
            key: take.number()?,
            sequence: take.int()?,
            accept: match take.number()? {
                0 => None,
                accept => Some(u16::try_from(accept - 1).ok()?),
            },
            block_exponent: take.byte()?,
            check_secs: take.int()?,
            ends_when_empty: take.byte()? != 0,
            ends_at: epoch.instant(take.number()?),
        });
    }
    Some(extras)
}

#[cfg(test)]
mod tests;
