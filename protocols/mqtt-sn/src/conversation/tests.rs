use super::*;

#[test]
fn a_conversation_is_small() {
    assert!(size_of::<Conversation>() <= 72, "{}", size_of::<Conversation>());
}
