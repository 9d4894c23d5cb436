//! The way to the other side.

/// Sends what one side has for the other: Pekko's remoting, or any bus.
///
/// It may lose, repeat and reorder what it is given; the two sides repair that. It must not wait.
pub trait Link<F>: Send + Sync + 'static {
    /// Sends, as well as it can.
    fn send(&self, frame: F);
}

impl<F, S: Fn(F) + Send + Sync + 'static> Link<F> for S {
    fn send(&self, frame: F) {
        self(frame);
    }
}
