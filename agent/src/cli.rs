//! The command line.
//!
//! Invariant: exit status 0 done, 1 failed, 2 bad configuration; of `run-once` the worst status of
//! the checks.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base::diagnostic::Diagnostics;
use base::memory;
use base::number::counted;
use base::supervisor::Supervisor;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use probes::Status;
use tokio::runtime::{Builder, Runtime};

use crate::app::{self, Origin};
use crate::config::Source;
use crate::import::{self, Imported};
use crate::out::{complain, print};
use crate::{demo, describe, once, schema};

/// Where the configuration is looked for, in this order.
const PLACES: [&str; 2] = ["agent.yml", "/etc/veilleur/agent.yml"];

/// The configuration where there is no file: nothing but the host and ourselves.
const DEFAULT: &str = include_str!("default.yml");

/// Runs checks on a schedule and shows what they find.
#[derive(Debug, Parser)]
#[command(name = "veilleur-agent", version, args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until told to stop (the default)
    Run(RunArgs),
    /// Check a configuration and tell everything that is wrong with it
    Check {
        /// The configuration
        file: PathBuf,
        /// The modules of /probe
        #[arg(long = "config.blackbox", value_name = "FILE")]
        blackbox: Option<PathBuf>,
        /// Accept an address that others can reach
        #[arg(long)]
        insecure_listen: bool,
        /// Who may reach us, in Prometheus's web configuration format
        #[arg(long = "web.config.file", value_name = "FILE")]
        web_file: Option<PathBuf>,
    },
    /// Turn a configuration of another program into ours, and tell what could not be converted
    #[command(subcommand)]
    Import(Import),
    /// Run checks once and show what they find
    RunOnce {
        /// The configuration [default: ./agent.yml, then /etc/veilleur/agent.yml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Only this check; may be given several times
        #[arg(long, value_name = "NAME")]
        check: Vec<String>,
    },
    /// Print a JSON Schema of agent.yml, for editors
    Schema,
    /// Tell the settings, metrics and reasons of a kind of probe; without one, list the kinds
    Describe {
        /// The kind, as under `probe:`
        kind: Option<String>,
        /// Every kind, as in docs/probes.md
        #[arg(long, conflicts_with = "kind")]
        markdown: bool,
    },
    /// Print what completes our command line in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Manual,
}

#[derive(Debug, Subcommand)]
enum Import {
    /// nrpe.cfg of the NRPE daemon, and what it includes
    Nrpe {
        /// The configuration
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// blackbox.yml of blackbox_exporter, and the prometheus.yml whose jobs ask by it
    Blackbox {
        /// The modules, and where the targets are written down
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// icinga2.conf and what it includes
    Icinga2 {
        /// The configuration
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// monitrc and what it includes
    Monit {
        /// The configuration
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// nagios.cfg and what it names, or files of objects and resources
    Nagios {
        /// The configuration
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The configuration [default: ./agent.yml, then /etc/veilleur/agent.yml]
    #[arg(long, value_name = "FILE", conflicts_with = "demo")]
    config: Option<PathBuf>,
    /// The modules of /probe, as blackbox_exporter has them, in place of the configuration's
    #[arg(long = "config.blackbox", value_name = "FILE")]
    blackbox: Option<PathBuf>,
    /// The address to serve on, in place of the configuration's
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Accept an address that others can reach, without TLS and passwords
    #[arg(long)]
    insecure_listen: bool,
    /// Who may reach us, in Prometheus's web configuration format, in place of `web:`
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_file: Option<PathBuf>,
    /// How much is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: tracing::Level,
    /// Lay out a demonstration in a directory and run it
    #[arg(long, value_name = "DIRECTORY")]
    demo: Option<PathBuf>,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    if let Err(fault) = base::process::begin() {
        complain(&format!("veilleur-agent: {fault}\n"));
        return ExitCode::FAILURE;
    }
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(error) => return usage(&error),
    };
    let result = match line.command {
        None => run(line.run),
        Some(Command::Run(args)) => run(args),
        Some(Command::Check { file, blackbox, insecure_listen, web_file }) => {
            let source = Source::File(file);
            let (listen, once) = (None, false);
            check(Origin { source, listen, insecure_listen, web_file, blackbox, once })
        }
        Some(Command::Import(Import::Nrpe { files })) => import(import::nrpe(&files)),
        Some(Command::Import(Import::Blackbox { files })) => import(import::blackbox(&files)),
        Some(Command::Import(Import::Nagios { files })) => import(import::nagios(&files)),
        Some(Command::Import(Import::Icinga2 { files })) => import(import::icinga2(&files)),
        Some(Command::Import(Import::Monit { files })) => import(import::monit(&files)),
        Some(Command::RunOnce { config, check }) => run_once(config, &check),
        Some(Command::Schema) => written(|text| {
            serde_json::to_writer_pretty(&mut *text, &schema::schema())?;
            writeln!(text)
        }),
        Some(Command::Describe { kind, markdown }) => tell(kind.as_deref(), markdown),
        Some(Command::Completions { shell }) => written(|text| {
            clap_complete::generate(shell, &mut Line::command(), "veilleur-agent", text);
            Ok(())
        }),
        Some(Command::Manual) => written(manual),
    };
    result.unwrap_or_else(|error| {
        complain(&format!("veilleur-agent: {error:#}\n"));
        ExitCode::FAILURE
    })
}

/// Help and version are what was asked for; everything else is a mistake.
fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if error.use_stderr() {
        complain(&text);
        return ExitCode::from(2);
    }
    match print(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Prints what `write` writes.
fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    write(&mut text)?;
    print(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// The page of the program, and what each of its commands takes.
fn manual(text: &mut Vec<u8>) -> std::io::Result<()> {
    let mut line = Line::command();
    line.build();
    let page = clap_mangen::Man::new(line.clone());
    page.render_title(text)?;
    page.render_name_section(text)?;
    page.render_synopsis_section(text)?;
    page.render_description_section(text)?;
    page.render_options_section(text)?;
    writeln!(text, ".SH COMMANDS")?;
    for command in line.get_subcommands().filter(|command| command.get_name() != "help") {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(text, ".SS \"{} {}\"\n{about}.", line.get_name(), command.get_name())?;
        clap_mangen::Man::new(command.clone()).render_options_section(text)?;
    }
    writeln!(
        text,
        ".SH FILES\n.TP\n/etc/veilleur/agent.yml\nThe configuration.\n\
         .SH EXIT STATUS\n0 done, 1 failed, 2 the configuration or the command line is wrong; of \
         \\fBrun\\-once\\fR the worst status of a check: 0 ok, 1 warning, 2 critical, 3 unknown.\n\
         .SH SIGNALS\nHUP reads the configuration again; one that is wrong changes nothing. TERM and \
         INT end the agent and every script with it."
    )
}

fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    memory::hold_little();
    let dropped = base::log::init(args.log_level);
    let source = match &args.demo {
        Some(directory) => demo::lay_out(directory).map_err(|error| {
            anyhow::anyhow!("cannot lay out the demonstration in {}: {error}", directory.display())
        })?,
        None => find(args.config),
    };
    let RunArgs { listen, insecure_listen, web_file, blackbox, .. } = args;
    let origin = Origin { source, listen, insecure_listen, web_file, blackbox, once: false };
    match origin.load() {
        Ok(config) => {
            let runtime = runtime()?;
            let ended = runtime.block_on(app::run(origin, config, &dropped));
            // A thread that waits for a disk or a mount that does not answer is not waited for.
            runtime.shutdown_background();
            ended
        }
        Err(diagnostics) => Ok(wrong(&diagnostics)),
    }
}

fn check(origin: Origin) -> anyhow::Result<ExitCode> {
    match origin.load() {
        Ok(config) => {
            let checks = counted(config.checks.len(), "check");
            let services = counted(config.services.len(), "service");
            let commands = config.nrpe.map(|nrpe| counted(nrpe.commands(), "command"));
            let commands = commands.map(|text| format!(", {text} of NRPE")).unwrap_or_default();
            print(&format!("ok: {checks}, {services}{commands}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(diagnostics) => Ok(wrong(&diagnostics)),
    }
}

/// Prints what became of a configuration, and tells what did not.
fn import(imported: std::io::Result<Imported>) -> anyhow::Result<ExitCode> {
    let imported = imported?;
    imported.notes.iter().for_each(|note| complain(&format!("{note}\n")));
    print(&imported.yaml)?;
    Ok(ExitCode::SUCCESS)
}

/// Tells of a kind of probe, or of all.
fn tell(kind: Option<&str>, markdown: bool) -> anyhow::Result<ExitCode> {
    let told = match kind {
        None if markdown => describe::markdown(),
        None => Ok(describe::list()),
        Some(kind) => describe::kind(kind),
    };
    match told {
        Ok(text) => print(&text)?,
        Err(message) => {
            complain(&format!("veilleur-agent: {message}\n"));
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_once(config: Option<PathBuf>, names: &[String]) -> anyhow::Result<ExitCode> {
    base::log::init(tracing::Level::WARN);
    let origin = Origin {
        source: find(config),
        listen: None,
        insecure_listen: false,
        web_file: None,
        blackbox: None,
        once: true,
    };
    let config = match origin.load() {
        Ok(config) => config,
        Err(diagnostics) => return Ok(wrong(&diagnostics)),
    };
    let (concurrency, checks) = match once::choose(config, names) {
        Ok(chosen) => chosen,
        Err(message) => {
            complain(&format!("veilleur-agent: {message}\n"));
            return Ok(ExitCode::from(2));
        }
    };
    let lines = runtime()?.block_on(once::run(checks, concurrency, &Supervisor::new()));
    print(&once::table(&lines))?;
    Ok(match once::worst(&lines) {
        Status::Ok => ExitCode::SUCCESS,
        worst => ExitCode::from(worst.code()),
    })
}

/// The configuration that was named, or the first that there is.
fn find(named: Option<PathBuf>) -> Source {
    let there = |place: &&str| Path::new(place).exists();
    match named.or_else(|| PLACES.iter().find(|place| there(place)).map(PathBuf::from)) {
        Some(path) => Source::File(path),
        None => Source::Embedded { name: "the built-in configuration", text: DEFAULT.to_owned() },
    }
}

/// Tells everything that is wrong with a configuration.
fn wrong(diagnostics: &Diagnostics) -> ExitCode {
    complain(&format!("{diagnostics}\n"));
    ExitCode::from(2)
}

/// One thread for all that waits: several would wake each other for nothing. What takes a processor
/// for long, such as a large page, is made on threads for that.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
