//! The signature of a webhook, as the Standard Webhooks specification defines it: HMAC-SHA256 of `id.timestamp.body`,
//! in base64. Receivers can check it with the libraries of that specification, or with a few lines of their own.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The prefix of secrets whose rest is base64; another secret is used as it is.
const ENCODED: &str = "whsec_";

/// The key that signs.
#[derive(Clone)]
pub(crate) struct Signer {
    key: Vec<u8>,
}

impl Signer {
    /// Creates the key of a secret.
    pub(crate) fn new(secret: &str) -> Self {
        let encoded = secret.strip_prefix(ENCODED);
        let decoded = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
        Self {
            key: decoded.unwrap_or_else(|| secret.as_bytes().to_vec()),
        }
    }

    /// Returns the value of the header `webhook-signature`; `None` if the key cannot be used, which no length causes.
    pub(crate) fn sign(&self, id: &str, timestamp: u64, body: &str) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        for part in [id, ".", &timestamp.to_string(), ".", body] {
            mac.update(part.as_bytes());
        }
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        Some(format!("v1,{signature}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the Standard Webhooks libraries.
        let signer = Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = r#"{"test": 2432232314}"#;
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature.unwrap(), expected);
    }
}
