use std::{path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use super::{CertificateFiles, TlsError, config, provider};

/// TLS settings of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// How the server is verified.
    pub trust: ServerTrust,
    /// What the client shows.
    pub certificate: Option<CertificateFiles>,
    /// Application protocols that are offered (ALPN).
    pub alpn: Vec<Vec<u8>>,
}

/// How a client verifies the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerTrust {
    /// By these certificate authorities, in PEM form.
    Authorities(PathBuf),
    /// Not at all: for trying things out.
    Anything,
}

impl ClientTls {
    /// Makes rustls's form of the settings.
    pub fn build(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Settings)?;
        let builder = match &self.trust {
            ServerTrust::Authorities(path) => {
                builder.with_root_certificates(config::roots(path, &config::read(path)?)?)
            }
            ServerTrust::Anything => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Credulous(provider)))
            }
        };
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = config::chain(&files.certificate, &config::read(&files.certificate)?)?;
                let key = PrivateKeyDer::from_pem_slice(&config::read(&files.key)?)
                    .map_err(|_| TlsError::NoKey(files.key.as_path().into()))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|cause| TlsError::Unusable { path: files.certificate.as_path().into(), cause })?
            }
        };
        config.alpn_protocols = self.alpn.clone();
        Ok(Arc::new(config))
    }
}

/// Believes every certificate, and only checks that the server has its key.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
