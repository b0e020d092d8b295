//! The files of one home directory, served over a stream in each direction.
//!
//! The service does not open the files of a home by itself: it may run elsewhere than the engine
//! that has them, and a desktop may swap a directory for a link at any moment. So it asks a small
//! program, `cosage-files`, which the engine runs beside the desktop with nothing but the home in
//! it. [`serve()`] is that program, and [`protocol`] what it is asked and answers.
//!
//! **Confinement.** The kernel resolves every path beneath the home's directory (`openat2(2)` with
//! `RESOLVE_BENEATH`, Linux 5.6), so no link leads out, whoever changes what meanwhile.
//!
//! **Never half a file.** What is uploaded has no name until it is complete (`O_TMPFILE`,
//! open(2)), so whatever ends the program leaves the old file or nothing.

mod archive;
mod disk_use;
mod home;
pub mod protocol;
mod serve;
mod upload;

pub use self::home::Home;
pub use self::serve::serve;
