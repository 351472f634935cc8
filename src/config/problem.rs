use std::{fmt, io, path::PathBuf};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 when it concerns the file as a whole.
        line: usize,
    },
    /// A change that was made while the gateway ran.
    RunTime {
        /// The file that has it.
        path: PathBuf,
        /// The line, from 1; 0 when it concerns the file as a whole.
        line: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// `--set`, with this text.
    CommandLine(String),
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub origin: Origin,
    /// The key that it concerns; empty when it concerns none.
    pub key: String,
    /// What is wrong.
    pub cause: Cause,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The configuration file cannot be read.
    FileUnreadable(io::ErrorKind),
    /// The configuration file is no TOML, as the parser puts it.
    Syntax(String),
    /// There is no such key.
    UnknownKey {
        /// The key that was probably meant.
        suggestion: Option<String>,
        /// The keys that could stand there.
        known: Vec<&'static str>,
    },
    /// The value is not what it should be.
    BadValue {
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// A key that has no default is missing.
    Missing {
        /// What should be there.
        expected: String,
    },
    /// `--set` without `=`.
    NotAnAssignment,
    /// A variable of the environment that would be a setting with two underscores between its parts.
    SingleUnderscore {
        /// How it is written.
        variable: String,
    },
    /// Two listeners on one address.
    Collision {
        /// The other listener's `bind` key.
        other: String,
        /// Where that was written.
        other_origin: Origin,
        /// The address.
        bind: String,
    },
    /// A file that the value names cannot be read.
    NamedFileUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        kind: io::ErrorKind,
    },
    /// The value makes no sense without another.
    Needs {
        /// The other key.
        other: String,
        /// What it must be, as the end of "to be ...".
        expected: &'static str,
    },
    /// The key has no meaning here.
    Pointless {
        /// The listeners for which it has one.
        only_for: String,
    },
}

/// Everything that is wrong with the configuration: at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index != 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => {}
            origin => write!(f, "{origin}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        self.cause.fmt(f)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("built-in default"),
            Self::File { path, line: 0 } => path.display().fmt(f),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::RunTime { path, line: 0 } => write!(f, "run time, {}", path.display()),
            Self::RunTime { path, line } => write!(f, "run time, {}:{line}", path.display()),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::CommandLine(text) => write!(f, "command line --set {text}"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileUnreadable(kind) => write!(f, "cannot be read: {kind}"),
            Self::Syntax(message) => write!(f, "no TOML: {message}"),
            Self::UnknownKey { suggestion: Some(suggestion), .. } => {
                write!(f, "unknown key, did you mean {suggestion}?")
            }
            Self::UnknownKey { suggestion: None, known } => {
                write!(f, "unknown key, expected one of {}", known.join(", "))
            }
            Self::BadValue { found, expected } => write!(f, "found {found}, expected {expected}"),
            Self::Missing { expected } => write!(f, "missing, expected {expected}"),
            Self::NotAnAssignment => f.write_str("expected key=value"),
            Self::SingleUnderscore { variable } => {
                write!(f, "two underscores stand between the parts, did you mean {variable}?")
            }
            Self::Collision { other, other_origin, bind } => {
                write!(f, "{bind} is taken by {other} ({other_origin}), expected an address that no other listener has")
            }
            Self::NamedFileUnreadable { path, kind } => {
                write!(f, "cannot read {}: {kind}, expected a readable file", path.display())
            }
            Self::Needs { other, expected } => write!(f, "needs {other} to be {expected}"),
            Self::Pointless { only_for } => write!(f, "has a meaning only for listeners of kind {only_for}"),
        }
    }
}
