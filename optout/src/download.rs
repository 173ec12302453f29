//! Answers of the api that are files, written to where they are wanted.

use std::path::Path;

use anyhow::Context;
use reqwest::Response;
use tempfile::NamedTempFile;
use tokio::{
    fs::File,
    io::{AsyncWrite, AsyncWriteExt, stdout},
};

/// Writes the answer to this file, or to standard output.
pub(crate) async fn write(answer: Response, path: Option<&Path>) -> anyhow::Result<()> {
    match path {
        None => copy(answer, &mut stdout()).await,
        Some(path) => save(answer, path)
            .await
            .with_context(|| format!("{} was not written", path.display())),
    }
}

/// Writes a file beside the wanted one and renames it at the end: what has the name is a whole export, or what was there.
async fn save(answer: Response, path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let part = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    let mut file = File::from_std(part.reopen()?);
    copy(answer, &mut file).await?;
    file.sync_all().await?;
    part.persist(path)?;
    Ok(())
}

async fn copy(mut answer: Response, to: &mut (impl AsyncWrite + Unpin)) -> anyhow::Result<()> {
    while let Some(piece) = answer.chunk().await.context("the export broke off")? {
        to.write_all(&piece).await?;
    }
    Ok(to.flush().await?)
}
