//! A request that asks a server whether it is there.

use reqwest::Method;

use super::{Upstream, transport, upload::Upload};

impl Upstream {
    /// Asks a path from the root of the server. Its key is sent, because some servers require it for every path.
    ///
    /// # Errors
    /// Returns why the answer was not a success, without secrets.
    pub(crate) async fn check(&self, path: &str) -> Result<(), String> {
        let target = self.targets.at_root(path);
        let headers = self.headers.clone();
        let asked = self.exchange(&target, Method::GET, headers, Upload::default());
        match asked.await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("status {}", response.status().as_u16())),
            Err(error) => {
                let mut failure = transport::not_sent(&error, true);
                self.secrets.hide_in(&mut failure);
                Err(failure.message)
            }
        }
    }
}
