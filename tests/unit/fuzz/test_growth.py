"""Whether processes that grow are told from those that do not."""

import os

from tests.e2e.watch import MIB, Allowance, Sample, Watch, growth, table


def samples(*sizes: int, files: tuple[int, ...] = ()) -> list[Sample]:
    """A sample a second, sizes in MiB."""
    files = files or (10,) * len(sizes)
    return [
        Sample(float(second), size * MIB, open_) for second, (size, open_) in enumerate(zip(sizes, files, strict=True))
    ]


FLAT = (100, 180, 200, 205, 200, 210, 200, 205)


def test_what_grows_while_it_warms_up_is_flat():
    assert growth("gateway", samples(*FLAT), Allowance()) == []


def test_memory_that_goes_on_growing_is_named():
    (complaint,) = growth("gateway", samples(100, 200, 300, 400, 500, 600, 700, 800), Allowance())
    assert complaint == "gateway: memory grew from 350 to 750 MiB"


def test_a_peak_is_no_growth():
    assert growth("gateway", samples(*FLAT[:-2], 900, 200, *FLAT[:4]), Allowance()) == []


def test_open_files_that_go_on_growing_are_named():
    files = (10, 20, 30, 40, 50, 60, 70, 80)
    (complaint,) = growth("envoy", samples(*FLAT, files=files), Allowance())
    assert complaint == "envoy: open files grew from 35 to 75"


def test_what_is_allowed_is_no_growth():
    grown = samples(200, 200, 200, 200, 230, 230, 230, 230)
    assert growth("gateway", grown, Allowance(share=0.1, resident=10 * MIB)) == []
    assert growth("gateway", grown, Allowance(share=0.1, resident=9 * MIB)) != []


def test_too_few_samples_tell_nothing():
    assert growth("gateway", samples(100, 900, 900), Allowance()) == []


def test_a_watch_sees_what_runs_and_what_has_ended():
    ended = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(ended, 0)
    watch = Watch({"here": os.getpid(), "gone": ended})
    taken = watch.look()
    assert list(taken) == ["here"] and taken["here"].resident > 0 and taken["here"].files > 0
    assert watch.dead() == ["gone"]


def test_the_table_has_the_first_sample_and_the_last():
    lines = table({"gateway": samples(*FLAT)}, rows=3).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["0", "4", "7"]
    assert lines[-1].split()[1:] == ["205", "/", "10"]
