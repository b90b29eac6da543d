//! The host collectors together, on trees of files made up here.
//!
//! Invariant: every test says what is in its tree; nothing of this machine is looked at, but for
//! `uname` and the time zone.

use std::collections::BTreeMap;
use std::path::Path;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::family::MetricFamily;
use base::sample::Timestamp;
use proptest::prelude::*;

use super::{DeviceConfig, Host, HostConfig, PathsConfig, TextfileConfig};
use crate::{Reason, Status};

/// A host with a bit of everything.
const TREE: &[(&str, &str)] = &[
    ("proc/stat", STAT),
    ("proc/meminfo", "MemTotal:  16 kB\nMemFree: 8 kB\nActive(anon): 2 kB\nHugePages_Free: 3\n"),
    ("proc/loadavg", "0.21 0.37 0.39 1/719 19737\n"),
    (
        "proc/self/mountinfo",
        "29 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 1 8:2 / /no rw - nfs s:/ rw\n",
    ),
    ("proc/diskstats", "8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n8 1 sda1 1 2 3 4 5 6 7 8 9 10 11\n"),
    ("proc/net/dev", "a\nb\n  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"),
    ("proc/net/netstat", "TcpExt: ListenDrops\nTcpExt: 5\n"),
    ("proc/net/snmp", "Tcp: MaxConn InSegs\nTcp: -1 17\n"),
    ("proc/net/snmp6", "Ip6InOctets 460\nIcmp6InMsgs 4\n"),
    ("proc/net/sockstat", "sockets: used 229\nTCP: inuse 4 mem 2\n"),
    ("proc/net/sockstat6", "TCP6: inuse 17\n"),
    ("proc/net/stat/nf_conntrack", "entries found\n1 a\n2 1\n"),
    ("proc/vmstat", "nr_free_pages 1\npgfault 7\noom_kill 0\n"),
    ("proc/sys/fs/file-nr", "1024\t0\t1631329\n"),
    ("proc/sys/kernel/random/entropy_avail", "256\n"),
    ("proc/sys/kernel/random/poolsize", "4096\n"),
    ("proc/sys/net/netfilter/nf_conntrack_count", "123\n"),
    ("proc/sys/net/netfilter/nf_conntrack_max", "65536\n"),
    ("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=14036781\n"),
    ("proc/pressure/io", "some avg10=0.00 total=2\nfull avg10=0.00 total=1\n"),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/class/net/eth0/flags", "0x1003\n"),
    ("sys/class/net/eth0/speed", "1000\n"),
    ("sys/class/net/eth0/statistics/rx_nohandler", "6\n"),
    ("sys/block/sda/queue/rotational", "1\n"),
    ("sys/block/sda/slaves/sdc/size", "1\n"),
    ("sys/block/dm-3/dm/uuid", "mpath-17\n"),
    ("sys/block/dm-3/dm/name", "mpathA\n"),
    ("sys/block/dm-3/dm/suspended", "0\n"),
    ("sys/block/dm-3/size", "8\n"),
    ("sys/block/dm-3/slaves/sdi/x", ""),
    ("sys/block/dm-3/slaves/sdj/x", ""),
    ("sys/block/sdi/device/state", "running\n"),
    ("sys/block/sdj/device/state", "offline\n"),
    ("sys/block/dm-4/dm/uuid", "LVM-17\n"),
    ("sys/fs/bcache/a-b/internal/btree_nodes", "17\n"),
    ("sys/fs/bcache/a-b/bdev0/stats_total/cache_hits", "546\n"),
    ("sys/fs/bcache/a-b/bdev0/writeback_rate_debug", "rate:\t\t1.1M/sec\nchange:\t-1.5k/sec\n"),
    ("sys/fs/bcache/a-b/cache0/written", "0.5k\n"),
    ("sys/fs/bcache/a-b/cache0/priority_stats", "Unused:\t\t99%\n"),
    ("sys/devices/system/cpu/cpu0/online", "1\n"),
    ("sys/devices/system/cpu/cpu1/online", "0\n"),
    ("sys/devices/system/cpu/isolated", "1\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1700000\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("proc/net/arp", "IP address\n10.0.0.1 0x1 0x2 00:00:00:00:00:01 * eth0\n"),
    ("proc/net/softnet_stat", "0000000a 00000001 00000002 0 0 0 0 0 3 4 5 6 1\n"),
    ("proc/schedstat", "version 15\ncpu0 0 0 0 0 0 0 2000000000 3000000000 4\n"),
    ("proc/net/udp", "  sl\n   0: 0:16 0:0 0A 00000015:00000001 00:0 0\n"),
    ("etc/os-release", "ID=debian\nVERSION_ID='12.5'\nNAME=\"Debian\"\n"),
    ("sys/class/dmi/id/sys_vendor", "Dell Inc.\n"),
    ("proc/sys/kernel/hung_task_detect_count", "42\n"),
    ("proc/net/rpc/nfs", "net 70 70 69 45\nrpc 7 8 9\nproc3 3 0 5 6\n"),
    ("proc/net/rpc/nfsd", "rc 0 6 18622\nth 8 0\nproc4ops 5 0 0 0 1098 2\n"),
    ("sys/class/power_supply/BAT0/capacity", "81\n"),
    ("sys/class/powercap/intel-rapl:0/name", "package-0\n"),
    ("sys/class/powercap/intel-rapl:0/energy_uj", "2000000\n"),
    ("sys/class/nvme/nvme0/model", "Fast\n"),
    ("sys/class/nvme/nvme0/nvme0n1/queue/logical_block_size", "512\n"),
    ("sys/class/net/bonding_masters", "bond0\n"),
    ("sys/class/net/bond0/bonding/slaves", "eth0 eth1\n"),
    ("sys/class/net/bond0/lower_eth0/bonding_slave/mii_status", "up\n"),
    ("sys/class/scsi_tape/st0/stats/io_ns", "3000000000\n"),
    ("sys/class/hwmon/hwmon0/temp1_input", "55000\n"),
    ("sys/class/hwmon/hwmon0/name", "coretemp\n"),
    ("sys/class/thermal/thermal_zone0/temp", "12376\n"),
    ("sys/class/thermal/thermal_zone0/type", "cpu\n"),
    ("sys/class/watchdog/watchdog0/timeout", "60\n"),
    ("sys/devices/system/edac/mc/mc0/csrow0/ch0_ce_count", "5\n"),
    ("proc/mdstat", "md0 : active raid1 a[0] b[1]\n      17 blocks [2/1] [U_]\n"),
    ("sys/fs/xfs/dm-0/stats/stats", "extent_alloc 1 872 0 0\nrw 28 0\n"),
    ("sys/fs/btrfs/u/allocation/data/raid1/used_bytes", "5\n"),
    ("sys/fs/btrfs/u/allocation/data/raid1/total_bytes", "10\n"),
    ("sys/fs/btrfs/u/commit_stats", "commits 3\nlast_commit_ms 1500\n"),
    ("proc/spl/kstat/zfs/zil", "7 1\nname type data\nzil_itx_count 4 17\n"),
    ("proc/spl/kstat/zfs/tank/state", "ONLINE\n"),
    ("sys/class/fc_host/host0/statistics/rx_frames", "0x10\n"),
    ("sys/class/infiniband/mlx4_0/ports/1/rate", "40 Gb/sec (4X QDR)\n"),
    ("sys/class/infiniband/mlx4_0/ports/1/counters/port_rcv_data", "100\n"),
    ("proc/net/ip_vs_stats", "a\nb\n 1 2 3 A B\n"),
    ("proc/net/ip_vs", "TCP  C0A80016:0CEA wlc\n  -> C0A85216:0CEA Tunnel 100 248 2\n"),
    ("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n"),
    ("sys/fs/cgroup/system.slice/a.service/cpu.stat", "usage_usec 3\nuser_usec 2000000\n"),
    ("sys/fs/cgroup/system.slice/a.service/memory.current", "4096\n"),
    ("sys/fs/cgroup/system.slice/a.service/memory.max", "max\n"),
    ("sys/fs/cgroup/system.slice/a.service/io.stat", "8:0 rbytes=1 wbytes=2\n8:16 rbytes=3\n"),
    ("proc/7/stat", "7 (a b) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 3 0 1000 4096 10 0\n"),
    ("var/lib/dpkg/status", "Package: a\nStatus: install ok installed\nVersion: 1\n"),
    ("var/lib/apt/lists/x-security_Packages", "Package: a\nVersion: 2\n"),
    ("run/reboot-required", ""),
    ("udev/b8:0", "E:ID_MODEL=Disk\nE:ID_SERIAL=17\nE:ID_FS_TYPE=ext4\nE:DM_NAME=m\nE:ID_ATA=1\n"),
];
const STAT: &str = "cpu 1 2 3 4\ncpu0 1 2 3 4000 5 6 7 8 9 10\ncpu1 1 2 3 4\nintr 17 4 4\nctxt 3\n\
                    btime 1418183276\nprocesses 26442\nprocs_running 2\nprocs_blocked 0\n\
                    softirq 9 1 2\n";

fn write(root: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    TREE.iter().for_each(|(path, text)| write(folder.path(), path, text));
    folder
}

fn config(root: &Path) -> HostConfig {
    let paths = PathsConfig {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        rootfs: root.to_owned(),
        udev: root.join("udev"),
    };
    let optional = ["cgroup_usage", "top", "updates"];
    let enable = optional.map(|name| Spanned { value: name.to_owned(), place: Place::default() });
    HostConfig { paths, enable: enable.into(), ..HostConfig::default() }
}

fn build(config: HostConfig) -> Host {
    let mut diagnostics = Diagnostics::new("test");
    let host = config.build(&mut diagnostics);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    host
}

fn host(root: &Path) -> Host {
    build(config(root))
}

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);

/// The samples by name and labels.
fn samples(families: &[MetricFamily]) -> BTreeMap<String, f64> {
    let samples = families.iter().flat_map(|family| {
        family.samples.iter().map(|sample| {
            let labels: Vec<_> = sample.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
            (format!("{}{{{}}}", family.name, labels.join(",")), sample.value)
        })
    });
    samples.collect()
}

/// The collectors that did not give everything.
fn unsuccessful(families: &[MetricFamily]) -> Vec<String> {
    let success = families.iter().find(|f| f.name == "node_scrape_collector_success").unwrap();
    let failed = success.samples.iter().filter(|sample| sample.value == 0.0);
    failed.map(|sample| sample.labels[0].1.clone()).collect()
}

#[test]
fn hosts_of_the_same_settings_are_the_same() {
    let folder = tree();
    let other = || HostConfig { enabled: false, ..config(folder.path()) };
    assert!(host(folder.path()).is_same(&build(other())));
    let mut less = config(folder.path());
    less.stat.softirqs = true;
    assert!(!host(folder.path()).is_same(&build(less)));
}

#[test]
fn reads_what_the_files_say() {
    let folder = tree();
    let families = host(folder.path()).collect(NOW);
    assert_eq!(unsuccessful(&families), [""; 0]);
    let samples = samples(&families);
    let check = |sample: &str, value: f64| {
        assert_eq!(samples.get(sample), Some(&value), "{sample} of {samples:#?}");
    };
    check("node_cpu_seconds_total{cpu=0,mode=idle}", 40.0);
    check("node_cpu_guest_seconds_total{cpu=0,mode=nice}", 0.1);
    check("node_cpu_isolated{cpu=1}", 1.0);
    check("node_cpu_online{cpu=0}", 1.0);
    check("node_cpu_online{cpu=1}", 0.0);
    check("node_boot_time_seconds{}", 1_418_183_276.0);
    check("node_memory_MemTotal_bytes{}", 16_384.0);
    check("node_memory_Active_anon_bytes{}", 2048.0);
    check("node_memory_HugePages_Free{}", 3.0);
    check("node_load15{}", 0.39);
    check("node_disk_read_bytes_total{device=sda}", 1536.0);
    check("node_disk_io_time_seconds_total{device=sda}", 0.01);
    check(
        "node_disk_info{device=sda,major=8,minor=0,model=Disk,path=,revision=,rotational=1,\
         serial=17,wwn=}",
        1.0,
    );
    check("node_disk_device_mapper_backing_device_info{backing_device=sdc,device=sda}", 1.0);
    check("node_dmmultipath_device_info{device=mpathA,sysfs_name=dm-3,uuid=mpath-17}", 1.0);
    check("node_dmmultipath_device_active{device=mpathA,sysfs_name=dm-3}", 1.0);
    check("node_dmmultipath_device_size_bytes{device=mpathA,sysfs_name=dm-3}", 4096.0);
    check("node_dmmultipath_device_paths_active{device=mpathA,sysfs_name=dm-3}", 1.0);
    check("node_dmmultipath_device_paths_failed{device=mpathA,sysfs_name=dm-3}", 1.0);
    check("node_dmmultipath_path_state{device=mpathA,path=sdj,state=offline}", 1.0);
    assert!(!samples.keys().any(|name| name.contains("dm-4")), "it has no paths");
    check("node_bcache_btree_nodes{uuid=a-b}", 17.0);
    check("node_bcache_cache_hits_total{backing_device=bdev0,uuid=a-b}", 546.0);
    check("node_bcache_writeback_rate{backing_device=bdev0,uuid=a-b}", 1_150_976.0);
    check("node_bcache_writeback_change{backing_device=bdev0,uuid=a-b}", -1524.0);
    check("node_bcache_written_bytes_total{cache_device=cache0,uuid=a-b}", 500.0);
    assert!(!samples.keys().any(|name| name.contains("priority")), "they are not asked for");
    check("node_network_receive_bytes_total{device=eth0}", 1.0);
    check("node_network_receive_nohandler_total{device=eth0}", 6.0);
    check("node_network_speed_bytes{device=eth0}", 125_000_000.0);
    check("node_network_up{device=eth0}", 1.0);
    check("node_netstat_Tcp_InSegs{}", 17.0);
    check("node_netstat_Ip6_InOctets{}", 460.0);
    check("node_sockstat_TCP6_inuse{}", 17.0);
    check("node_arp_entries{device=eth0}", 1.0);
    check("node_softnet_processed_total{cpu=1}", 10.0);
    check("node_schedstat_running_seconds_total{cpu=0}", 2.0);
    check("node_udp_queues{ip=v4,queue=tx}", 21.0);
    check("node_os_version{id=debian,id_like=,name=Debian}", 12.5);
    check("node_dmi_info{system_vendor=Dell Inc.}", 1.0);
    check("node_nfs_requests_total{method=SetAttr,proto=3}", 6.0);
    check("node_nfsd_requests_total{method=Access,proto=4}", 1098.0);
    check("node_power_supply_capacity{power_supply=BAT0}", 81.0);
    check("node_nvme_namespace_logical_block_size_bytes{device=nvme0,nsid=1}", 512.0);
    check("node_bonding_active{master=bond0}", 1.0);
    check("node_tape_io_time_seconds_total{device=st0}", 3.0);
    check("node_hwmon_temp_celsius{chip=coretemp,sensor=temp1}", 55.0);
    check("node_thermal_zone_temp{type=cpu,zone=0}", 12.376);
    let dimm = "channel=0,controller=0,csrow=0,dimm_label=";
    check(&format!("node_edac_channel_correctable_errors_total{{{dimm}}}"), 5.0);
    check("node_md_disks{device=md0,state=active}", 1.0);
    check("node_xfs_write_calls_total{device=dm-0}", 28.0);
    check("node_btrfs_allocation_ratio{block_group_type=data,mode=raid1,uuid=u}", 2.0);
    check("node_zfs_zil_zil_itx_count{}", 17.0);
    check("node_zfs_zpool_state{state=online,zpool=tank}", 1.0);
    check("node_fibrechannel_rx_frames_total{fc_host=host0}", 16.0);
    check("node_infiniband_rate_bytes_per_second{device=mlx4_0,port=1}", 5e9);
    check("node_infiniband_port_data_received_bytes_total{device=mlx4_0,port=1}", 400.0);
    check("node_ipvs_incoming_bytes_total{}", 10.0);
    let group = "cgroup=/system.slice/a.service,container=,unit=a.service";
    check(&format!("veilleur_cgroup_cpu_user_seconds_total{{{group}}}"), 2.0);
    check(&format!("veilleur_cgroup_memory_bytes{{{group}}}"), 4096.0);
    check(&format!("veilleur_cgroup_io_read_bytes_total{{{group}}}"), 4.0);
    assert!(!samples.contains_key(&format!("veilleur_cgroup_memory_limit_bytes{{{group}}}")));
    check("veilleur_top_processes{name=a b}", 1.0);
    check("veilleur_updates_security_pending{}", 1.0);
    check("veilleur_reboot_required{}", 1.0);
    check("node_btrfs_last_commit_seconds{uuid=u}", 1.5);
    check("node_nf_conntrack_stat_found{}", 11.0);
    check("node_vmstat_pgfault{}", 7.0);
    check("node_filefd_maximum{}", 1_631_329.0);
    check("node_pressure_cpu_waiting_seconds_total{}", 14.036_781_000_000_001);
    check("node_cpu_scaling_frequency_hertz{cpu=0}", 1.7e9);
    check("node_time_seconds{}", 1_800_000_000.5);
    check("node_time_clocksource_current_info{clocksource=tsc,device=0}", 1.0);
    let error = "device=s:/,device_error=no such file or directory,fstype=nfs,mountpoint=/no";
    check(&format!("node_filesystem_device_error{{{error}}}"), 1.0);
    check(&format!("node_filesystem_readonly{{{error}}}"), 0.0);
    assert!(!samples.contains_key(&format!("node_filesystem_size_bytes{{{error}}}")));
    let good = "device=/dev/sda1,device_error=,fstype=ext4,mountpoint=/";
    check(&format!("node_filesystem_device_error{{{good}}}"), 0.0);
    assert!(samples[&format!("node_filesystem_size_bytes{{{good}}}")] > 0.0);
    assert!(!samples.keys().any(|name| name.contains("device=sda1")), "partitions are left out");
}

#[test]
fn sees_what_changed_since_the_last_scrape() {
    let folder = tree();
    let host = host(folder.path());
    host.collect(NOW);
    write(folder.path(), "proc/loadavg", "7 8 9 1/1 1\n");
    write(folder.path(), "proc/diskstats", "8 0 sda 5\n8 16 sdb 1 2 3\n");
    write(folder.path(), "udev/b8:0", "E:ID_MODEL=Another\n");
    let devices = folder.path().join("sys/class/net");
    std::fs::rename(devices.join("eth0"), devices.join("lan")).unwrap();
    let samples = samples(&host.collect(NOW));
    assert_eq!(samples["node_load1{}"], 7.0);
    assert_eq!(samples["node_disk_reads_completed_total{device=sda}"], 5.0);
    assert_eq!(samples["node_disk_read_bytes_total{device=sdb}"], 1536.0);
    assert!(!samples.contains_key("node_disk_io_now{device=sdb}"));
    assert!(samples.keys().any(|sample| sample.contains("model=Another")), "{samples:#?}");
    assert_eq!(samples["node_network_up{device=lan}"], 1.0);
    assert!(!samples.contains_key("node_network_up{device=eth0}"));
}

#[test]
fn says_which_collectors_failed_and_still_gives_what_it_could_read() {
    let folder = tree();
    let outcome = host(folder.path()).look(NOW);
    assert_eq!((outcome.status, outcome.reason), (Status::Ok, Reason::None), "{outcome:?}");

    write(folder.path(), "proc/net/snmp", "Tcp: InSegs OutSegs\nTcp: 17 x\n");
    write(folder.path(), "proc/loadavg", "?");
    std::fs::remove_file(folder.path().join("proc/meminfo")).unwrap();
    let outcome = host(folder.path()).look(NOW);
    assert_eq!((outcome.status, outcome.reason), (Status::Warning, Reason::CollectorFailed));
    assert_eq!(outcome.summary, "collectors that failed: meminfo, loadavg, netstat");
    let root = folder.path().display();
    assert_eq!(
        outcome.details,
        format!(
            "meminfo: `{root}/proc/meminfo` cannot be read: No such file or directory (os error 2)\n\
             loadavg: `{root}/proc/loadavg` is malformed: `?`\n\
             netstat: `{root}/proc/net/snmp` is malformed: `x`"
        )
    );
    assert_eq!(unsuccessful(&outcome.families), ["meminfo", "loadavg", "netstat"]);
    let samples = samples(&outcome.families);
    assert_eq!(samples["node_netstat_Tcp_InSegs{}"], 17.0);
    assert!(!samples.contains_key("node_netstat_Tcp_OutSegs{}"));
}

#[test]
fn what_the_kernel_does_not_have_is_no_reason_to_warn() {
    let folder = tree();
    for absent in ["proc/pressure", "proc/sys/net", "sys", "udev"] {
        std::fs::remove_dir_all(folder.path().join(absent)).unwrap();
    }
    for absent in ["proc/net/snmp6", "proc/net/sockstat6"] {
        std::fs::remove_file(folder.path().join(absent)).unwrap();
    }
    let outcome = host(folder.path()).look(NOW);
    assert_eq!((outcome.status, outcome.details.as_str()), (Status::Ok, ""));
    assert_eq!(
        unsuccessful(&outcome.families).join(" "),
        "pressure conntrack dmi netclass powersupplyclass rapl nvme bonding tapestats hwmon fibrechannel infiniband cgroup_usage"
    );
}

#[test]
fn a_host_without_any_file_fails_in_every_part_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = host(folder.path()).look(NOW);
    assert_eq!(
        outcome.summary,
        "collectors that failed: cpu, stat, meminfo, loadavg, filesystem, diskstats, netdev, vmstat, \
         filefd, netstat, top"
    );
    let samples = samples(&outcome.families);
    assert!(samples.contains_key("node_time_seconds{}"), "{samples:#?}");
}

#[test]
fn runs_the_collectors_that_are_chosen() {
    let written = |text: &str| Spanned { value: text.to_owned(), place: Place::default() };
    let folder = tree();
    let names = |config: HostConfig| {
        let families = build(config).collect(NOW);
        let ran = families.iter().find(|f| f.name == "node_scrape_collector_success").unwrap();
        ran.samples.iter().map(|s| s.labels[0].1.clone()).collect::<Vec<_>>().join(" ")
    };
    let collectors = Some(vec![written("uname"), written("loadavg")]);
    let chosen = HostConfig { collectors, enable: Vec::new(), ..config(folder.path()) };
    assert_eq!(names(chosen), "loadavg uname");
    let usual = names(HostConfig { enable: Vec::new(), ..config(folder.path()) });
    assert!(!usual.contains("cgroup_usage") && usual.contains("hwmon"), "{usual}");
    let wanted = |name: &str| matches!(name, "loadavg" | "hwmon");
    let some = host(folder.path()).look_at(NOW, &wanted).families;
    let some = samples(&some).into_keys().filter(|name| name.contains("_success{"));
    let success = |name: &str| format!("node_scrape_collector_success{{collector={name}}}");
    assert_eq!(some.collect::<Vec<_>>(), [success("hwmon"), success("loadavg")]);
    let disable = vec![written("cpu"), written("netclass")];
    let some = names(HostConfig { disable, ..config(folder.path()) });
    assert!(some.starts_with("stat meminfo") && some.contains("conntrack arp"), "{some}");
    let netdev = DeviceConfig { device_exclude: Some(written("^eth")), device_include: None };
    let families = build(HostConfig { netdev, ..config(folder.path()) }).collect(NOW);
    assert!(families.iter().all(|family| family.name != "node_network_receive_bytes_total"));
    assert!(families.iter().any(|family| family.name == "node_network_up"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever a file says, nothing panics and every other file is read as before.
    #[test]
    fn no_content_of_a_file_disturbs_the_others(
        file in 0..TREE.len(),
        cut in any::<prop::sample::Index>(),
        noise in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "[a-z0-9 :\\-\n=,.|/]{0,200}".prop_map(String::into_bytes),
            "(-|[0-9]{1,30}|:| |\n|x){0,40}".prop_map(String::into_bytes),
        ],
    ) {
        let folder = tree();
        let host = host(folder.path());
        host.collect(NOW);
        let (path, text) = TREE[file];
        let cut = cut.index(text.len() + 1);
        let mut bytes = text.as_bytes()[..cut].to_vec();
        bytes.extend(noise);
        bytes.extend(&text.as_bytes()[cut..]);
        write(folder.path(), path, bytes);
        let samples = samples(&host.collect(NOW));
        let others = [
            ("proc/stat", "node_forks_total{}"),
            ("proc/loadavg", "node_load1{}"),
            ("proc/net/dev", "node_network_transmit_bytes_total{device=eth0}"),
            ("proc/diskstats", "node_disk_io_now{device=sda}"),
            ("proc/vmstat", "node_vmstat_oom_kill{}"),
            ("proc/sys/fs/file-nr", "node_filefd_allocated{}"),
        ];
        for (source, sample) in others {
            prop_assert!(source == path || samples.contains_key(sample), "{sample}");
        }
    }
}

/// What the textfile collector gives of `files`, and which of them it names as bad.
fn textfiles(files: &[(&str, &str)]) -> (BTreeMap<String, f64>, Vec<String>) {
    let folder = tree();
    files.iter().for_each(|(name, text)| write(folder.path(), &format!("text/{name}"), text));
    let root = folder.path().display();
    let directory = Spanned { value: format!("{root}/t?xt"), place: Place::default() };
    let textfile = TextfileConfig { directories: vec![directory] };
    let families = build(HostConfig { textfile, ..config(folder.path()) }).collect(NOW);
    let bad = families.iter().filter(|family| family.name == "veilleur_textfile_error");
    let told = bad.flat_map(|family| &family.samples).map(|sample| {
        let [(_, error), (_, file)] = &sample.labels[..] else { panic!("{sample:?}") };
        format!("{}: {error}", file.rsplit('/').next().unwrap())
    });
    let told = told.collect();
    (samples(&families), told)
}

#[test]
fn textfiles_are_shown_whole_or_named() {
    let check = |files: &[(&str, &str)], shown: &[(&str, f64)], bad: &[&str]| {
        let (samples, told) = textfiles(files);
        for (sample, value) in shown {
            assert_eq!(samples.get(*sample), Some(value), "{sample} of {samples:#?}");
        }
        let error = f64::from(u8::from(!bad.is_empty()));
        assert_eq!(samples["node_textfile_scrape_error{}"], error);
        assert_eq!(told.len(), bad.len(), "{told:?}");
        for (told, expected) in told.iter().zip(bad) {
            assert!(told.contains(expected), "{told}");
        }
        samples
    };
    check(
        &[("a.prom", "a 1\n"), ("b.prom", "b{x=\"y\"} 2\n"), ("c.txt", "?")],
        &[("a{}", 1.0), ("b{x=y}", 2.0)],
        &[],
    );
    let samples = check(
        &[("a.prom", "a 1\n"), ("b.prom", "b 1\n???\n")],
        &[("a{}", 1.0)],
        &["b.prom: line 2"],
    );
    assert!(!samples.contains_key("b{}"));
    check(&[("a.prom", "a 1 1700000000000\n")], &[], &["a.prom: has a sample with a time"]);
    check(
        &[("a.prom", "a 1\n"), ("b.prom", "a 2\na{f=\"b\"} 3\n")],
        &[("a{}", 1.0), ("a{f=b}", 3.0)],
        &["b.prom: a series of `a` comes twice"],
    );
    let help = "# HELP a One.\n# TYPE a gauge\na{f=\"x\"} 1\n";
    check(
        &[("a.prom", help), ("b.prom", "# HELP a Two.\n# TYPE a gauge\na 2\n")],
        &[("a{f=x}", 1.0)],
        &["b.prom: `a` has another help"],
    );
    check(&[("a.prom", help), ("b.prom", "# TYPE a counter\na 2\n")], &[], &["another type"]);
    check(
        &[("a.prom", "veilleur_service_up{service=\"shop\"} 1\n")],
        &[],
        &["a name of the agent"],
    );
    check(&[("a.prom", "a{x=\"\\xff\"} 1\nb \u{0}\n")], &[], &["a.prom: line"]);
}

#[test]
fn a_textfile_cannot_pass_for_a_metric_of_the_host() {
    let (samples, _) = textfiles(&[("a.prom", "node_load1 99\nnode_forks_total 98\nmine 1\n")]);
    assert_eq!((samples["node_load1{}"], samples["mine{}"]), (0.21, 1.0));
    assert_eq!(samples["node_forks_total{}"], 26442.0);
    assert_eq!(samples["node_textfile_scrape_error{}"], 1.0);
}
