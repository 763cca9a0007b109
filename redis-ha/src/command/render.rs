//! `redis-ha render`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redis_ha::{Config, RenderedFile, Secrets, render};

use super::print;
use crate::{Exit, Failure, Global};

#[derive(Debug, clap::Args)]
pub(crate) struct Render {
    /// The directory, which is made; files of an earlier rendering are replaced, those that are no longer of the service stay
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(global: &Global, options: &Render) -> Result<Exit, Failure> {
    let config = Config::read(&global.config)?;
    let secrets = Secrets::read(&config)?;
    let mut text = String::new();
    for file in render(&config, &secrets) {
        let RenderedFile { text: content, mode, .. } = &file;
        let path = options.out.join(file.relative());
        let written = directories(&options.out, &path).and_then(|()| write(&path, content, *mode));
        written.map_err(|source| Failure::File { step: "write", path: path.clone(), source })?;
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{}", path.display());
    }
    print(&text)?;
    Ok(Exit::Done)
}

/// Makes those above a file. Below the directory of all they are as they are to be where they are copied to, whatever the mask: a
/// daemon that is not root must come to its files.
fn directories(out: &Path, path: &Path) -> std::io::Result<()> {
    let Some(dir) = path.parent() else { return Ok(()) };
    fs::create_dir_all(dir)?;
    for below in dir.ancestors().take_while(|below| *below != out) {
        fs::set_permissions(below, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Never readable by others, not for a moment, where it is not to be.
fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let new = path.with_extension("rendering");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode & 0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    fs::rename(&new, path)
}
