use std::path::PathBuf;

use super::{schema::settings, value::Bind};

settings! {
    /// The management interface: the API below /api/v5, and metrics.
    pub struct Dashboard {
        /// Whether it is there.
        enable: bool = true;
        /// Where it listens.
        bind: Bind = Bind::Any(18083);
        /// The password of the account admin, as long as the store has no accounts. Without one it is "public", with which one may only look, and set another.
        first_password: String = String::new();
        /// A file whose first line is that password.
        first_password_file: PathBuf = PathBuf::new();
    }
}
