/// The result of starting a server, and of changing its keys.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a server can't start, or a key not be changed. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine can't be opened.
    #[error(transparent)]
    Engine(#[from] calotype_engine::Error),
    /// The config can't be used.
    #[error("{0}")]
    Config(String),
    /// Keys can't be read or changed.
    #[error("{0}")]
    Key(String),
    /// An address can't be listened on.
    #[error("{address}: can't be listened on: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Everybody who reaches this address could use it.
    #[error("{0} is reached from other machines, and there is no key: make one with calotype keys new")]
    NoKey(std::net::SocketAddr),
    /// The system refuses something.
    #[error("{what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}
