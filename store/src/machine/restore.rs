use thingway_contract::{ClientId, SubscriptionOptions, TopicFilter};

use super::{
    Group, Kept, Machine,
    flush::{GROUP, SESSION},
};
use crate::{
    Epoch, Number, Position,
    codec::{take_extras, take_share, take_will},
    wire::Take,
};

/// Putting rows back, before any record is applied: first [`Machine::restore_row`] for all sessions, then the rest in any order. `None` is a row that
/// is not one.
impl<S> Machine<S> {
    /// The state that the rows tell is the one at this position, and messages up to `copied` have rows.
    pub fn restore_position(&mut self, position: Position, copied: Position) {
        self.position = position;
        self.messages.copied = copied;
    }

    /// A session or a group.
    pub fn restore_row(&mut self, number: Number, row: &[u8], epoch: Epoch) -> Option<()> {
        let mut take = Take(row);
        match take.byte()? {
            SESSION => {
                let mut kept = Kept::new(ClientId::new(take.text()?, usize::MAX).ok()?);
                kept.expiry_secs = take.int()?;
                kept.attach = take.number()?;
                kept.will_rests = take.byte()? != 0;
                kept.detached_at = take.number()?;
                kept.set_next_packet_id(take.short()?);
                for _ in 0..take.number()? {
                    kept.inbound.open(take.short()?);
                }
                kept.will = take_will(&mut take, epoch)?;
                kept.extras = Some(Box::new(take_extras(&mut take, epoch)?)).filter(|extras| !extras.is_empty());
                for _ in 0..take.number()? {
                    let (id, group) = (take.short()?, take.number()?);
                    kept.shares.get_or_insert_default().drawn.insert(id, group);
                }
                kept.stored = true;
                self.names.insert(kept.client_id.clone(), number);
                self.sessions.insert(number, Box::new(kept));
            }
            GROUP => {
                let name = take_share(&mut take)?;
                let turn = take.number()?;
                self.group_names.insert(name.clone(), number);
                self.groups.insert(number, Group { turn, stored: true, ..Group::new(name) });
            }
            _ => return None,
        }
        Some(())
    }

    /// The next part of a queue; parts come in their order.
    pub fn restore_part(&mut self, number: Number, row: &[u8]) -> Option<()> {
        let messages = &mut self.messages;
        let told = |entry: super::Entry, bytes| {
            if !entry.is_received() {
                messages.add(entry.message, bytes);
            }
        };
        match (self.sessions.get_mut(&number), self.groups.get_mut(&number)) {
            (Some(kept), _) => kept.queue_mut().restore_part(row, told),
            (None, Some(group)) => group.queue.restore_part(row, told),
            (None, None) => None,
        }
    }

    /// A subscription; only a shared one concerns the machine.
    pub fn restore_subscription(&mut self, number: Number, filter: &TopicFilter, options: SubscriptionOptions) {
        let group = filter.share_name().and_then(|name| self.group_names.get(&name).copied());
        if let (Some(group), Some(kept)) = (group, self.sessions.get_mut(&number)) {
            kept.shares.get_or_insert_default().join(group);
            if let Some(group) = self.groups.get_mut(&group) {
                group.members.insert(number, options);
            }
        }
    }

    /// A delayed message.
    pub fn restore_delayed(&mut self, id: u64, row: &[u8]) -> Option<()> {
        self.delayed.insert(id, (Take(row).number()?, 0));
        Some(())
    }
}
