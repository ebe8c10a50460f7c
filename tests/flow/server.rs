//! A running `serve`: started on a free port, spoken to over HTTP, stopped or killed, never left behind.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::support::{program, rows};

/// How long a server may take until it listens; its state is read back before.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a server may take until what it has taken is in the tables: it may have failed and wait to try again.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(240);

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    address: String,
    said: Arc<Mutex<String>>,
}

impl Server {
    /// Starts `serve` on a free port with a commit every 50 ms, and waits until it listens.
    pub fn start(data: &Path, more: &[&str]) -> Result<Self> {
        Self::from_command(&mut Self::command(data, more))
    }

    /// The command that [`Server::start`] runs.
    pub fn command(data: &Path, more: &[&str]) -> Command {
        let mut command = program(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--commit-interval-ms",
            "50",
            "--data",
        ]);
        command.arg(data).args(more);
        command
    }

    /// Starts a prepared command and waits until it listens.
    pub fn from_command(command: &mut Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let said = Arc::new(Mutex::new(String::new()));
        let (sender, receiver) = sync_channel(2);
        let stdout = child.stdout.take().context("standard output is piped")?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        listen(stdout, Arc::clone(&said), sender.clone());
        listen(stderr, Arc::clone(&said), sender);
        let mut server = Self {
            child,
            address: String::new(),
            said,
        };
        let address = receiver.recv_timeout(START_TIMEOUT);
        server.address =
            address.with_context(|| format!("the server does not listen; it said: {}", server.said()))?;
        Ok(server)
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Everything it has written so far.
    pub fn said(&self) -> String {
        self.said.lock().map(|said| said.clone()).unwrap_or_default()
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until the `events` table has so many rows.
    pub fn wait_for_events(&mut self, data: &Path, events: usize) -> Result<()> {
        let deadline = Instant::now() + COMMIT_TIMEOUT;
        loop {
            let found = rows(data, "select count(*) as n from events").unwrap_or_default();
            let count = found.first().and_then(|row| row["n"].as_u64()).unwrap_or(0);
            if count >= events as u64 {
                return Ok(());
            }
            ensure!(self.is_running(), "the server ended: {}", self.said());
            ensure!(
                Instant::now() < deadline,
                "{count} of {events} events came: {}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends the process as a power cut would.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the process to end and waits for it.
    pub fn terminate(mut self) -> Result<ExitStatus> {
        let told = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -TERM {}", self.child.id()))
            .status()?;
        ensure!(told.success(), "the server is gone; it said: {}", self.said());
        Ok(self.child.wait()?)
    }

    /// Asks the process to end, which must succeed.
    pub fn stop(self) -> Result<()> {
        let said = Arc::clone(&self.said);
        let status = self.terminate()?;
        ensure!(
            status.code() == Some(0),
            "the server ended with {status}: {}",
            said.lock().map(|said| said.clone()).unwrap_or_default()
        );
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads a pipe to its end on a thread; the first address on it is sent on.
fn listen(pipe: impl Read + Send + 'static, said: Arc<Mutex<String>>, sender: SyncSender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            if let Some(address) = address(&line) {
                // Only the first one is waited for.
                drop(sender.try_send(address));
            }
            if let Ok(mut said) = said.lock() {
                said.push_str(&line);
                said.push('\n');
            }
        }
    });
}

/// The URL in a line that says where the server listens.
fn address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on")?;
    let start = rest.find("http://")?;
    let end = |character: char| !(character.is_ascii_alphanumeric() || ":/.".contains(character));
    let url = rest[start..].split(end).next().unwrap_or_default();
    Some(url.trim_end_matches(['/', '.']).to_owned())
}

/// The answer to a batch of events.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header that says when to come again.
    pub retry_after: Option<String>,
    /// The body.
    pub body: serde_json::Value,
}

/// Posts a body to the collector.
pub async fn post(
    client: &reqwest::Client,
    url: &str,
    content_type: Option<&str>,
    body: Vec<u8>,
) -> Result<Answer> {
    let mut request = client.post(url).body(body);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
    Ok(Answer {
        status,
        retry_after,
        body,
    })
}
