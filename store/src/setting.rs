//! What operators have set at run time: texts by name, beside what the log tells.

use std::ops::ControlFlow;

use crate::{Backend, BackendError, Change, Table};

/// Most bytes of a name. So each has a row of its own in every backend.
pub const SETTING_NAME_BYTES_MAX: usize = 60_000;

/// Visits the settings whose names begin with `prefix`, in the order of their names.
///
/// # Errors
/// When the backend fails, or a row is damaged.
pub fn for_each_setting<B: Backend>(
    backend: &mut B,
    prefix: &str,
    mut visit: impl FnMut(&str, &str) -> ControlFlow<()>,
) -> Result<(), BackendError> {
    let mut damaged = None;
    backend.rows(Table::Settings, prefix.as_bytes(), &mut |name, value| match (
        std::str::from_utf8(name),
        std::str::from_utf8(value),
    ) {
        (Ok(name), Ok(value)) => visit(name, value),
        _ => {
            damaged = Some(BackendError::Corrupt(format!("setting {}", name.escape_ascii()).into()));
            ControlFlow::Break(())
        }
    })?;
    damaged.map_or(Ok(()), Err)
}

/// One setting.
///
/// # Errors
/// When the backend fails, or the row is damaged.
pub fn setting<B: Backend>(backend: &mut B, name: &str) -> Result<Option<String>, BackendError> {
    let Some(row) = backend.row(Table::Settings, name.as_bytes())? else { return Ok(None) };
    String::from_utf8(row).map(Some).map_err(|_| BackendError::Corrupt(format!("setting {name:?}").into()))
}

/// Changes settings, all or none of them, and makes that safe. `None` removes one.
///
/// # Errors
/// When the backend fails. Nothing was changed then, or all of it, but not safely.
pub fn change_settings<B: Backend>(
    backend: &mut B,
    changes: impl IntoIterator<Item = (String, Option<String>)>,
) -> Result<(), BackendError> {
    let change = |(name, value): (String, Option<String>)| Change {
        table: Table::Settings,
        key: name.into_bytes(),
        value: value.map(String::into_bytes),
    };
    backend.write(changes.into_iter().map(change).collect())?;
    backend.sync()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    #[test]
    fn settings_are_found_by_their_names() {
        let mut memory = Memory::new();
        let set = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        change_settings(&mut memory, [set("b/2", Some("two")), set("a/1", Some("one")), set("b/1", Some("three"))])
            .expect("memory never fails");
        change_settings(&mut memory, [set("b/2", None)]).expect("memory never fails");
        let mut found = Vec::new();
        for_each_setting(&mut memory, "b/", |name, value| {
            found.push(format!("{name}={value}"));
            ControlFlow::Continue(())
        })
        .expect("read");
        assert_eq!(found, ["b/1=three"]);
        assert_eq!(setting(&mut memory, "a/1").expect("read").as_deref(), Some("one"));
        assert_eq!(setting(&mut memory, "b/2").expect("read"), None);
        let bad = Change { table: Table::Settings, key: b"x".to_vec(), value: Some(vec![0xff]) };
        memory.write(vec![bad]).expect("memory never fails");
        assert!(matches!(setting(&mut memory, "x"), Err(BackendError::Corrupt(_))));
        let told = for_each_setting(&mut memory, "", |_, _| ControlFlow::Continue(()));
        assert!(matches!(told, Err(BackendError::Corrupt(_))));
    }
}
