"""What is read of control groups, from a made-up tree of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from presenced.server.cgroup import charged_bytes, groups, tightest_limit

GIB = 1 << 30
V1_NONE = "9223372036854771712\n"


class Tree:
    """`/proc/self/cgroup` and `/sys/fs/cgroup` below a directory."""

    def __init__(self, place: Path, own: str) -> None:
        self.own = place / "cgroup"
        self.own.write_text(own)
        self.root = place / "fs"
        self.root.mkdir()

    def put(self, group: str, **files: object) -> None:
        """Files of a group; `memory_max` is `memory.max`."""
        directory = self.root / group
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name.replace("_", ".", 1)).write_text(f"{text}\n")

    @property
    def limit(self) -> int:
        return tightest_limit(self.own, self.root)

    def charged(self, pid: int = 77) -> int:
        return charged_bytes(self.own, self.root, pid)


V2 = "0::/system.slice/presenced.service\n"
UNIT = "system.slice/presenced.service"


class TestLimits:
    def test_none(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, V2)
        assert tree.limit == 0
        tree.put(UNIT, memory_max="max", memory_high="max")
        assert tree.limit == 0

    @pytest.mark.parametrize("name", ["memory_max", "memory_high"])
    @pytest.mark.parametrize("group", [UNIT, "system.slice", "."])
    def test_each_of_them_counts_wherever_it_is(self, tmp_path: Path, name: str, group: str) -> None:
        tree = Tree(tmp_path, V2)
        for one in (UNIT, "system.slice", "."):
            tree.put(one, memory_max="max", memory_high="max")
        tree.put(group, **{name: GIB})
        assert tree.limit == GIB

    def test_the_tightest_counts_and_not_the_nearest(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, V2)
        tree.put(UNIT, memory_max=3 * GIB, memory_high=2 * GIB)
        tree.put("system.slice", memory_max=GIB, memory_high="max")
        tree.put("other.slice", memory_max=5)
        assert tree.limit == GIB

    def test_a_limit_of_nothing_is_none(self, tmp_path: Path) -> None:
        """A budget of nothing would refuse everybody; the kernel ends what is under such a limit anyway."""
        tree = Tree(tmp_path, V2)
        tree.put(UNIT, memory_max=0, memory_high="rubbish")
        assert tree.limit == 0

    def test_version_1(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, "9:name=systemd:/x\n4:memory:/box/one\n3:cpu,cpuacct:/box\n")
        tree.put("memory/box/one", memory_limit_in_bytes=V1_NONE.strip())
        assert tree.limit == 0
        tree.put("memory/box", memory_limit_in_bytes=GIB)
        tree.put("box/one", memory_max=7)
        assert tree.limit == GIB

    def test_both_versions_beside_each_other(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, "4:memory:/a\n0::/b\n")
        tree.put("memory/a", memory_limit_in_bytes=2 * GIB)
        tree.put("unified/b", memory_max=GIB)
        assert tree.limit == GIB
        assert [(str(group.relative_to(tree.root)), is_v2) for group, is_v2 in groups(tree.own, tree.root)] == [
            ("memory/a", False),
            ("memory", False),
            ("unified/b", True),
            ("unified", True),
        ]

    @pytest.mark.parametrize("path", ["/../../elsewhere", "/docker/0123abcd"])
    def test_in_a_container_the_root_is_its_own(self, tmp_path: Path, path: str) -> None:
        tree = Tree(tmp_path, f"0::{path}\n")
        (tmp_path / "memory.max").write_text("5")
        tree.put(".", memory_max=GIB)
        assert tree.limit == GIB

    @pytest.mark.parametrize("own", ["", "0\n", "nonsense\n", "\x00\n"])
    def test_what_cannot_be_read_limits_nothing(self, tmp_path: Path, own: str) -> None:
        tree = Tree(tmp_path, own)
        assert tree.limit == 0 and tree.charged() == 0
        tree.own.unlink()
        for ask in (lambda: tree.limit, tree.charged):
            with pytest.raises(OSError):
                ask()

    def test_this_very_process_can_ask_whatever_its_groups_are(self) -> None:
        tightest_limit()
        charged_bytes()


class TestCharged:
    STAT = "anon 1\nfile 600\nshmem 100\nsock 5"

    def put(self, tree: Tree, procs: str = "77") -> None:
        tree.put(UNIT, memory_current=1000, memory_stat=self.STAT, cgroup_procs=procs)

    def test_files_on_disk_do_not_count_and_shared_memory_does(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, V2)
        self.put(tree)
        assert tree.charged() == 500

    @pytest.mark.parametrize("procs", ["77\n78", "78", ""])
    def test_only_of_a_group_of_its_own(self, tmp_path: Path, procs: str) -> None:
        tree = Tree(tmp_path, V2)
        self.put(tree, procs)
        assert tree.charged() == 0

    def test_version_1(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, "4:memory:/one\n")
        tree.put("memory/one", memory_usage_in_bytes=1000, memory_stat="cache 600\nshmem 100", cgroup_procs=77)
        assert tree.charged() == 500

    def test_without_the_details(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, V2)
        tree.put(UNIT, memory_current=1000, cgroup_procs=77)
        assert tree.charged() == 1000
        tree.put(UNIT, memory_stat="broken")
        assert tree.charged() == 1000
