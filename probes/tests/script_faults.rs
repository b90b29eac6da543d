//! Scripts that hang, flee, multiply and flood; and who meddles with the program. F45, F46, F47,
//! F49, X10.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{alive, eventually, probe, run, run_for, shell, tag, zombies};
use probes::{Reason, Status};

const BRIEF: Duration = Duration::from_millis(300);

/// Runs a script that does not end by itself. `{}` in it stands for a time to sleep by which its
/// processes are found.
async fn check_hung(script: &str) {
    let tag = tag();
    let probe = shell(&script.replace("{}", &tag), "");
    let (outcome, took) = run_for(probe.as_ref(), BRIEF).await;
    assert_eq!((outcome.status, outcome.reason), (Status::Unknown, Reason::Timeout), "{script}");
    assert!(took < BRIEF + Duration::from_secs(3), "{script}: {took:?}");
    assert!(
        eventually(Duration::from_millis(500), || alive(&tag).is_empty()).await,
        "{script}: {:?}",
        alive(&tag)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_script_frees_its_slot_and_leaves_nothing_f45() {
    tokio::join!(
        check_hung("sleep {}"),
        check_hung("sleep {} & wait"),
        check_hung("trap '' TERM; while :; do sleep {}; done"),
        check_hung("setsid sleep {} & wait"),
        check_hung("(setsid sleep {} &) ; sleep {}"),
        check_hung("exec >&- 2>&-; sleep {}"),
        check_hung("kill -STOP $$; sleep {}"),
        check_hung("setsid sh -c 'setsid sh -c \"sleep {} & sleep {}\" & sleep {}' & sleep {}"),
    );
}

/// Runs a script that ends and leaves something behind.
async fn check_left(script: &str) {
    let tag = tag();
    let probe = shell(&script.replace("{}", &tag), "");
    let (outcome, took) = run_for(probe.as_ref(), Duration::from_secs(20)).await;
    assert_eq!((outcome.status, outcome.summary.as_str()), (Status::Ok, "done"), "{script}");
    assert!(took < Duration::from_secs(2), "{script}: {took:?}");
    assert!(alive(&tag).is_empty(), "{script}: {:?}", alive(&tag));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_script_leaves_behind_is_ended_f45() {
    check_left("echo done; sleep {} &").await;
    check_left("echo done; sleep {} >/dev/null 2>&1 &").await;
    check_left("echo done; setsid sleep {} &").await;
    check_left("echo done; setsid sleep {} >/dev/null 2>&1 & sleep 0.05").await;
    check_left("echo done; (setsid sleep {} >/dev/null 2>&1 &) ; sleep 0.05").await;
    check_left("echo done; trap '' TERM HUP INT; (setsid sleep {} & sleep {}) & sleep 0.05").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_behind_is_told() {
    let outcome = run(shell("echo done; sleep 100 & sleep 100 &", "").as_ref()).await;
    assert_eq!(outcome.details, "2 processes that it left behind were ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_words_of_a_background_job_are_heard() {
    let outcome = run(shell("(sleep 0.05; echo late) & exit 0", "").as_ref()).await;
    assert_eq!(outcome.summary, "late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_can_clean_up_when_its_time_is_up() {
    let directory = tempfile::tempdir().unwrap();
    let proof = directory.path().join("cleaned");
    let script =
        format!("trap 'echo cleaning; touch {}; exit 0' TERM; sleep 100 & wait", proof.display());
    let (outcome, took) = run_for(shell(&script, "").as_ref(), BRIEF).await;
    assert_eq!(outcome.reason, Reason::Timeout);
    assert_eq!(outcome.details, "printed until then: cleaning");
    assert!(proof.exists() && took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_zombie_is_left_of_1000_cancelled_runs_f46() {
    let tag = tag();
    let probe = shell(&format!("sleep {tag}"), "");
    for _ in 0..50 {
        let runs = (0..20).map(|n| {
            let probe = Arc::clone(&probe);
            async move { run_for(probe.as_ref(), Duration::from_millis(n % 8)).await.0.reason }
        });
        let mut set = Vec::new();
        for run in runs {
            set.push(Box::pin(run));
        }
        for reason in join_all(set).await {
            assert_eq!(reason, Reason::Timeout);
        }
    }
    assert!(eventually(Duration::from_secs(1), || zombies() == 0).await, "{} zombies", zombies());
    assert!(alive(&tag).is_empty(), "{:?}", alive(&tag));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_zombie_is_left_of_10000_runs_f45() {
    let probe = shell("(exit 0) & exit 0", "");
    for _ in 0..500 {
        let runs = (0..20).map(|_| Box::pin(run(probe.as_ref()))).collect();
        for outcome in join_all(runs).await {
            assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
        }
    }
    assert!(eventually(Duration::from_secs(1), || zombies() == 0).await, "{} zombies", zombies());
}

/// All of `futures` at a time.
async fn join_all<F: Future>(mut futures: Vec<std::pin::Pin<Box<F>>>) -> Vec<F::Output> {
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => {
                done.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_dropped_is_cleaned_up_by_the_next() {
    let tag = tag();
    let probe = shell(&format!("setsid sleep {tag} & sleep {tag}"), "");
    let dropped = tokio::time::timeout(BRIEF, probe.run(&Default::default())).await;
    assert!(dropped.is_err());
    run(shell("true", "").as_ref()).await;
    assert!(
        eventually(Duration::from_secs(1), || alive(&tag).is_empty()).await,
        "{:?}",
        alive(&tag)
    );
    run(shell("true", "").as_ref()).await;
    assert!(eventually(Duration::from_secs(1), || zombies() == 0).await, "{} zombies", zombies());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_output_is_ended_f47() {
    for flood in ["yes", "head -c 10G /dev/zero", "yes >&2", "exec 1>&2; yes"] {
        let (outcome, took) = run_for(shell(flood, "").as_ref(), Duration::from_secs(8)).await;
        assert_eq!(
            (outcome.status, outcome.reason),
            (Status::Unknown, Reason::OutputTooLong),
            "{flood}"
        );
        assert!(took < Duration::from_secs(5), "{flood}: {took:?}");
        assert!(outcome.details.len() < 32 << 10, "{flood}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_gets_three_descriptors_default_signals_and_few_variables_f49() {
    let script = "ls /proc/self/fd | tr '\\n' ' '; echo; grep SigBlk /proc/self/status; \
                  echo $((0x$(sed -n 's/SigIgn:[^0-9a-f]*//p' /proc/self/status) & ~0x180000000)); \
                  readlink /proc/self/fd/0; ps -o pid=,pgid=,sid= -p $$ | awk '{print ($1==$2)($2==$3)}'; \
                  tr '\\0' '\\n' </proc/$$/environ | sed 's/VEILLEUR_RUN=.*/VEILLEUR_RUN/' | sort";
    // The two ignored signals that are masked out are glibc's own, which `posix_spawn` sets so.
    // `ls` has a descriptor of its own for the directory that it lists.
    let probe = shell(script, ", env: {SHOP: 'a b'}");
    let outcome = run(probe.as_ref()).await;
    assert_eq!(outcome.summary, "0 1 2 3");
    let expected = "SigBlk:\t0000000000000000\n0\n/dev/null\n11\nLANG=C.UTF-8\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nSHOP=a b\nVEILLEUR_RUN";
    assert_eq!(outcome.details, expected);
}

/// A directory of ours with a program that exits with 0 and one, which others could have changed,
/// that exits with 1.
fn swapped() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, program, mode) in [("good", "/bin/true", 0o755), ("evil", "/bin/false", 0o777)] {
        let path = directory.path().join(name);
        fs::copy(program, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("good", directory.path().join("check")).unwrap();
    directory
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_swapped_between_check_and_start_leads_nowhere_x10() {
    let directory = swapped();
    let at = |name: &str| directory.path().join(name);
    let probe = probe(&format!("script: {{command: [{}]}}", at("check").display()));
    let done = AtomicBool::new(false);
    let mut seen = BTreeSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0_u32.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                symlink(if n % 2 == 0 { "evil" } else { "good" }, at("next")).unwrap();
                fs::rename(at("next"), at("check")).unwrap();
            }
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for _ in 0..1250 {
                    let runs = (0..8).map(|_| Box::pin(run(probe.as_ref()))).collect();
                    for outcome in join_all(runs).await {
                        seen.insert((outcome.status.code(), outcome.reason.as_str()));
                    }
                }
            });
        });
        done.store(true, Ordering::Relaxed);
    });
    // Neither was the evil one ever started, which would be a warning, nor did the good one fail.
    let expected = BTreeSet::from([(0, "none"), (3, "insecure-program")]);
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_changes_after_the_load_is_refused_or_told_x10() {
    let directory = swapped();
    let path = directory.path().join("good");
    let probe = probe(&format!("script: {{command: [{}]}}", path.display()));
    assert_eq!(run(probe.as_ref()).await.status, Status::Ok);
    let check = async |reason: Reason, part: &str| {
        let outcome = run(probe.as_ref()).await;
        assert_eq!((outcome.status, outcome.reason), (Status::Unknown, reason), "{outcome:?}");
        assert!(outcome.summary.contains(part), "{outcome:?}");
    };
    fs::set_permissions(&path, fs::Permissions::from_mode(0o775)).unwrap();
    check(Reason::InsecureProgram, "can be written by its group").await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    check(Reason::NotExecutable, "is not executable").await;
    fs::write(&path, "#!/no/such\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    check(Reason::NotExecutable, "the interpreter of").await;
    fs::write(&path, "no program\n").unwrap();
    check(Reason::NotExecutable, "cannot be started").await;
    fs::remove_file(&path).unwrap();
    check(Reason::ProgramMissing, "does not exist").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_just_being_written_is_waited_for() {
    let directory = swapped();
    let path = directory.path().join("good");
    let probe = probe(&format!("script: {{command: [{}]}}", path.display()));
    let writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let outcome = run(probe.as_ref()).await;
    assert_eq!((outcome.status, outcome.reason), (Status::Unknown, Reason::StartFailed));
    assert!(outcome.summary.contains("somebody has it open to write it"), "{outcome:?}");
    let (outcome, ()) = tokio::join!(run(probe.as_ref()), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(writer);
    });
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
}
