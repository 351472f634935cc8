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
        /// The same over TLS.
        tls: DashboardTls = DashboardTls::default();
    }
}

settings! {
    /// The management interface over TLS.
    pub struct DashboardTls {
        /// Whether it is there.
        enable: bool = true;
        /// Where it listens.
        bind: Bind = Bind::Any(18084);
        /// File with the certificate and those that signed it, as PEM. Without one it is the certificate that the gateway makes for itself.
        certificate: PathBuf = PathBuf::new();
        /// File with the certificate's private key, as PEM.
        key: PathBuf = PathBuf::new();
    }
}
