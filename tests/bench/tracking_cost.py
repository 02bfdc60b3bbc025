"""What tracking costs: an empty cell tracked and not, and the heap's counters on and off.

    target/venv/bin/python tests/bench/tracking_cost.py [--cells 100] [--rounds 15]
"""

import random
import statistics
import time

from measure import arguments, machine, median, ours, print_table, require, seconds_of, write

# Times itself inside the cell, so that compiling is left out. Optimised as a user's hot cell
# would be (`:opt 2`): slow code around the allocator would hide what counting costs.
CHURN = """
use std::collections::BTreeMap;
fn churn(seed: u64) -> usize {
    let mut state = seed | 1;
    let mut next = || { state ^= state << 13; state ^= state >> 7; state ^= state << 17; state };
    let mut map: BTreeMap<u64, String> = BTreeMap::new();
    let mut strings: Vec<String> = Vec::new();
    for _ in 0..60_000 {
        let number = next();
        map.insert(number % 20_000, "x".repeat((number % 200) as usize + 1));
        if number % 3 == 0 { map.remove(&(next() % 20_000)); }
        strings.push(number.to_string());
        if strings.len() > 5_000 { strings.clear(); strings.shrink_to_fit(); }
    }
    map.values().map(String::len).sum::<usize>() + strings.len()
}
fn timed(threads: u64, repeats: u64) {
    for repeat in 0..repeats {
        let start = std::time::Instant::now();
        std::thread::scope(|scope| for thread in 0..threads {
            scope.spawn(move || std::hint::black_box(churn(1 + repeat * 64 + thread)));
        });
        println!("{}", start.elapsed().as_secs_f64());
    }
}
"""
REPEATS = 10


def interval(differences):
    """A 95 % interval of the median of paired differences, by resampling with a fixed seed."""
    chance = random.Random(1)
    medians = sorted(
        median(chance.choices(differences, k=len(differences))) for _ in range(2000)
    )
    return medians[50], medians[1949]


def differences_of(tracked, untracked):
    """Tracked less untracked, pair by pair."""
    return [with_it - without for with_it, without in zip(tracked, untracked)]


def processor_seconds(pid):
    """Processor time of the kernel process so far, that of ended threads too, without the compiler's.

    This is `clock_getcpuclockid`, which Python lacks: it counts nanoseconds, not ticks.
    """
    return time.clock_gettime((~pid << 3) | 2)


def empty_cells(binary, count):
    """Pairs of an untracked and a tracked empty cell, in random order within each pair.

    Compiling takes a hundred times longer than tracking and varies with the machine's load, so the
    difference of the clock is given with its 95 % interval. The kernel's processor time depends on
    the load far less: it shows what sampling takes from the compiler. This client reads the larger
    answer of a tracked cell; its own processor time is in the difference of the clock, and told.
    """
    chance = random.Random(1)
    plain, tracked, own_account = [], [], []
    spent = {"untracked": [], "tracked": []}
    clients = {"untracked": [], "tracked": []}
    with ours(binary) as session:
        session.warm_up()
        pid = session.manager.provisioner.pid
        for _ in range(count):
            pair = [("();", plain), ("%memtrack\n();", tracked)]
            chance.shuffle(pair)
            for code, into in pair:
                spent_before, client_before = processor_seconds(pid), time.process_time()
                seconds, result = seconds_of(session, code)
                name = "tracked" if into is tracked else "untracked"
                spent[name].append(processor_seconds(pid) - spent_before)
                clients[name].append(time.process_time() - client_before)
                into.append(seconds)
                if into is tracked:
                    own_account.append(result.record.json["overhead"]["tracking_s"])
    differences = differences_of(tracked, plain)
    processor = differences_of(spent["tracked"], spent["untracked"])
    return {
        "cells_each": count,
        "untracked_median_s": median(plain),
        "tracked_median_s": median(tracked),
        "ratio_of_medians": median(tracked) / median(plain),
        "paired_difference_median_s": median(differences),
        "paired_difference_95_s": interval(differences),
        "tracking_s_in_the_record_median": median(own_account),
        "tracking_s_in_the_record_max": max(own_account),
        "kernel_processor_median_s": {name: median(each) for name, each in spent.items()},
        "kernel_processor_difference_median_s": median(processor),
        "kernel_processor_difference_95_s": interval(processor),
        "client_processor_difference_median_s": median(
            differences_of(clients["tracked"], clients["untracked"])
        ),
        "untracked_s": plain,
        "tracked_s": tracked,
    }


def allocation_heavy(binary, rounds):
    """The same cell in two kernels, counters on and off, turn by turn."""
    times = {}
    with ours(binary) as on, ours(binary, env={"MEMTRACK_HEAP": "0"}) as off:
        for session in (on, off):
            session.ok(":opt 2")
            session.ok(CHURN)
        for threads in (1, 8):
            pair = {"on": [], "off": [], "on_fastest": [], "off_fastest": []}
            for number in range(rounds):
                order = [("on", on), ("off", off)]
                for name, session in order if number % 2 == 0 else reversed(order):
                    printed = session.ok(f"timed({threads}, {REPEATS});").stdout
                    seconds = [float(line) for line in printed.split()]
                    assert len(seconds) == REPEATS, printed
                    pair[name].append(median(seconds))
                    pair[f"{name}_fastest"].append(min(seconds))
            times[threads] = pair
    return {
        str(threads): {
            "rounds": rounds,
            "on_median_s": median(pair["on"]),
            "off_median_s": median(pair["off"]),
            "ratio_of_medians": median(pair["on"]) / median(pair["off"]),
            "median_of_paired_ratios": median([a / b for a, b in zip(pair["on"], pair["off"])]),
            # Other programs only ever make a repeat slower: on a busy machine this is steadier.
            "ratio_of_fastest": min(pair["on_fastest"]) / min(pair["off_fastest"]),
            "spread_off": statistics.pstdev(pair["off"]) / median(pair["off"]),
            **pair,
        }
        for threads, pair in times.items()
    }


def main():
    parser = arguments(__doc__.splitlines()[0], "tracking_cost")
    parser.add_argument("--cells", type=int, default=100, help="empty cells of each kind (default 100)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the heavy cell (default 15)")
    options = parser.parse_args()
    kernel = require(options.kernel, "cargo build --release")
    host = machine()
    empty = empty_cells(kernel, options.cells)
    heavy = allocation_heavy(kernel, options.rounds)
    low, high = empty["paired_difference_95_s"]
    processor_low, processor_high = empty["kernel_processor_difference_95_s"]

    print(f"{host['cores']} cores, {host['processor']}\n")
    print_table(
        [
            "empty cell",
            "untracked, ms",
            "tracked, ms",
            "added, ms",
            "95 %",
            "of it this client's, ms",
            "by its own account, ms",
            "added processor time, ms",
            "95 %",
        ],
        [
            [
                f"{options.cells} each",
                f"{empty['untracked_median_s'] * 1e3:.1f}",
                f"{empty['tracked_median_s'] * 1e3:.1f}",
                f"{empty['paired_difference_median_s'] * 1e3:+.2f}",
                f"{low * 1e3:+.2f} to {high * 1e3:+.2f}",
                f"{empty['client_processor_difference_median_s'] * 1e3:+.2f}",
                f"{empty['tracking_s_in_the_record_median'] * 1e3:.2f}",
                f"{empty['kernel_processor_difference_median_s'] * 1e3:+.2f}",
                f"{processor_low * 1e3:+.2f} to {processor_high * 1e3:+.2f}",
            ]
        ],
    )
    print()
    print_table(
        ["allocation-heavy cell", "counters off, ms", "on, ms", "ratio", "of fastest", "spread of off"],
        [
            [
                f"{threads} thread{'s' if threads != '1' else ''}",
                f"{one['off_median_s'] * 1e3:.1f}",
                f"{one['on_median_s'] * 1e3:.1f}",
                f"{one['ratio_of_medians']:.3f}",
                f"{one['ratio_of_fastest']:.3f}",
                f"{one['spread_off']:.1%}",
            ]
            for threads, one in heavy.items()
        ],
    )
    write(options.json, {"machine": host, "empty_cell": empty, "allocation_heavy": heavy})


if __name__ == "__main__":
    main()
