//! Log lines, by `wasi:logging`. The host shows them with the stage's name, a bounded number per call.

pub use crate::fields_world::wasi::logging::logging::Level;

/// Says something to whoever runs the pipeline. The macros fill in the context.
pub fn log(level: Level, context: &str, message: &str) {
    crate::fields_world::wasi::logging::logging::log(level, context, message);
}

/// Logs a line: arguments as `format!`.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)*) => { $crate::log($crate::Level::Debug, module_path!(), &format!($($arg)*)) };
}

/// Logs a line: arguments as `format!`.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::log($crate::Level::Info, module_path!(), &format!($($arg)*)) };
}

/// Logs a line: arguments as `format!`.
#[macro_export]
macro_rules! warn {
    ($($arg:tt)*) => { $crate::log($crate::Level::Warn, module_path!(), &format!($($arg)*)) };
}

/// Logs a line: arguments as `format!`.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::log($crate::Level::Error, module_path!(), &format!($($arg)*)) };
}
