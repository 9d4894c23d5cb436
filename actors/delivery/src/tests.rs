mod actors;
mod machines;
#[cfg(feature = "tcp")]
mod sockets;
