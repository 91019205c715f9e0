"""Levels of theory through the files: what keeps two calculations apart, and what does not."""

import re

import pytest
from pymatgen.io.vasp import Vasprun

from redoxmd.archive.importing import import_archive
from redoxmd.engines.vasp.tags import COMPARED, DEFAULTS, DETAILS, NUMERICAL, RUN_TAGS
from redoxmd.engines.vasp.vasprun import read_vasprun
from redoxmd.errors import LabelRefused
from redoxmd.train.dataset import read_dataset_card
from tests.engines.vasp.shapes import ATOMS, ELECTRONS, VERSIONS, vasprun


@pytest.fixture
def put(tmp_path):
    def write(name, text):
        path = tmp_path / "archive" / name / "vasprun.xml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        return path

    return write


def imported(tmp_path):
    """Names of the calculations accepted, and place → (reason, detail) of the others."""
    report = import_archive([tmp_path / "archive"], tmp_path / "data")
    refused = {item.path.parent.name: (item.reason, item.detail.rpartition(".xml: ")[2]) for item in report.refused}
    return sorted(report.accepted), refused


class TestHubbard:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_as_pymatgen_reads_it(self, version, put):
        path = put("u", vasprun(version, 4.2))
        oracle = Vasprun(path, parse_dos=False, parse_eigen=False, parse_potcar_file=False)
        assert oracle.hubbards == {"Na": 0.0, "V": 4.2, "O": 0.0}
        calculation = read_vasprun(path)
        assert calculation.level.hubbard == {"V": ("d", 4.2)}
        assert calculation.settings["LDAUU"] == oracle.incar["LDAUU"] == [0.0, 4.2, 0.0]
        # What pymatgen finds in <parameters>: the first species.
        assert oracle.parameters["LDAUU"] == [0.0]

    @pytest.mark.parametrize("version", VERSIONS)
    def test_u_separates_and_versions_do_not(self, version, put, tmp_path):
        put("u42", vasprun(version, 4.2))
        put("u42_too", vasprun("6.3.2" if version < "6" else "5.4.4", 4.2, shift=0.01))
        put("u30", vasprun(version, 3.0, shift=0.02))
        put("none", vasprun(version, shift=0.03))
        accepted, refused = imported(tmp_path)
        assert accepted == ["u42", "u42_too"]
        assert refused == {
            "u30": ("wrong_settings", "U of V: 3 eV on d against 4.2 eV on d"),
            "none": ("wrong_settings", "U of V: none against 4.2 eV on d"),
        }
        assert read_dataset_card(tmp_path / "data")["level"]["hubbard"] == {"V": ["d", 4.2]}

    def test_j_counts_where_it_acts_apart(self, put):
        levels = [
            read_vasprun(put(str(number), vasprun("5.4.4", 4.2 + j, ldau_type=kind, j_eV=j))).level
            for number, (kind, j) in enumerate([(2, 0.0), (2, 1.0), (1, 0.0), (1, 1.0)])
        ]
        assert levels[0].hubbard == levels[1].hubbard == {"V": ("d", 4.2)}
        assert [level.hubbard["V"][0] for level in levels[2:]] == ["d with J = 0 eV", "d with J = 1 eV"]

    def test_types_of_an_element_that_differ_in_u_are_told(self, put):
        text = vasprun("5.4.4", 4.2).replace("<c>O </c>", "<c>V </c>")
        assert read_vasprun(put("mixed", text)).level.hubbard == {"V": ("d of some of its types", 4.2)}

    @pytest.mark.parametrize("version", VERSIONS)
    def test_lists_that_an_incar_leaves_out_have_their_default(self, version, put, tmp_path):
        """LDAUJ = 0 and LDAUL = 2 for every species; <parameters> has both for the first one."""
        put("in_full", vasprun(version, 4.2))
        head, end, rest = vasprun(version, 4.2, shift=0.01).partition(" </incar>")
        left_out = [line for line in head.splitlines(keepends=True) if 'name="LDAUJ"' not in line]
        path = put("without_j", "".join(left_out) + end + rest)
        assert "LDAUJ" not in Vasprun(path, parse_dos=False, parse_eigen=False, parse_potcar_file=False).incar
        assert imported(tmp_path) == (["in_full", "without_j"], {})
        on_all = [line for line in left_out if 'name="LDAUL"' not in line]
        rest = rest.replace('name="LDAUL">    -1', 'name="LDAUL">     2')
        assert read_vasprun(put("u_alone", "".join(on_all) + end + rest)).level.hubbard == {"V": ("d", 4.2)}

    def test_lists_longer_than_the_species_are_read_to_the_last_species(self, put):
        head, end, rest = vasprun("5.4.4", 4.2).partition(" </incar>")
        longer = re.sub(r'(name="LDAU[LUJ]">[^<]*)</v>', r"\1     0</v>", head)
        assert read_vasprun(put("longer", longer + end + rest)).level.hubbard == {"V": ("d", 4.2)}

    def test_the_first_species_alone_is_not_taken_for_all(self, put):
        text = vasprun("5.4.4", 4.2)
        start, end = text.index('  <v type="int" name="LDAUTYPE">'), text.index(" </incar>")
        with pytest.raises(LabelRefused, match=r"corrupted.*1 in LDAUL, 1 in LDAUU, 1 in LDAUJ for 3 species"):
            read_vasprun(put("cut", text[:start] + text[end:]))


# Tags set besides, and what the refusal says: the value found first.
SEPARATE = {
    "EFIELD": ({"EFIELD": 0.2, "IDIPOL": 3}, "EFIELD 0.2 against 0.0; IDIPOL 3 against 0"),
    "I_CONSTRAINED_M": (
        {"I_CONSTRAINED_M": 2, "LAMBDA": 10.0},
        "I_CONSTRAINED_M 2 against 0; LAMBDA 10.0 against not set",
    ),
    "LVDW": ({"LVDW": True}, "IVDW 1 against 0"),
    "IVDW": ({"IVDW": 12}, "IVDW 12 against 0"),
    "VDW_S8": ({"VDW_S8": 0.79}, "VDW_S8 0.79 against not set"),
    "XC": ({"XC": "PBESOL"}, "functional PBEsol against PBE"),
    "LHFCALC": ({"LHFCALC": True, "AEXX": 0.25, "HFSCREEN": 0.2}, "functional HSE06 against PBE"),
    "METAGGA": ({"METAGGA": "R2SCAN"}, "functional R2SCAN against PBE"),
    "ENAUG": ({"ENAUG": 1360.0}, "ENAUG 1360.0 against not set"),
    "LCORR": ({"LCORR": False}, "LCORR False against True"),
    "SCALEE": ({"SCALEE": 0.5}, "SCALEE 0.5 against 1.0"),
    "QSPIRAL": ({"QSPIRAL": [0.0, 0.0, 0.5]}, "QSPIRAL [0.0, 0.0, 0.5] against not set"),
    "a tag of a later VASP": ({"LBRANDNEW": True}, "LBRANDNEW True against not set"),
    "LREAL": ({"LREAL": True}, "LREAL on against auto"),
    "EDIFF": ({"EDIFF": 0.01}, "EDIFF 0.01 against 0.1 meV/atom or less"),
}


class TestTags:
    def test_comments_of_an_incar_are_no_part_of_a_value(self, put):
        level = read_vasprun(put("a", vasprun("5.4.4", incar={"METAGGA": "R2SCAN ! as before", "IVDW": 0}))).level
        assert level.functional == "R2SCAN"

    @pytest.mark.parametrize("name", SEPARATE)
    def test_what_separates(self, name, put, tmp_path):
        tags, sentence = SEPARATE[name]
        put("a", vasprun("6.3.2"))
        put("b", vasprun("6.3.2", shift=0.01))
        text = vasprun("6.3.2", shift=0.02, incar=tags)
        if "LREAL" in tags:
            text = text.replace('  <i type="string" name="LREAL">Auto</i>\n', "")
        if "EDIFF" in tags:
            text = text.replace('  <i name="EDIFF">      0.00000100</i>\n', "", 1)
        put("c", text)
        assert imported(tmp_path) == (["a", "b"], {"c": ("wrong_settings", sentence)})

    def test_what_does_not(self, put, tmp_path):
        put("static", vasprun("6.3.2", incar={"NCORE": 4, "LWAVE": False, "LMAXMIX": 6, "LVDW": False, "IVDW": 0}))
        md = {"NSW": 5, "IBRION": 0, "POTIM": 2.0, "TEBEG": 800.0, "MDALGO": 3, "LANGEVIN_GAMMA": [10.0] * 3}
        put("md", vasprun("6.3.2", shift=0.01, incar=md | {"ML_LMLFF": True, "ISYM": 0}))
        put("explicit", vasprun("5.4.4", shift=0.02, incar={"EFIELD": 0.0, "AGGAC": 1.0, "SAXIS": [0.0, 0.0, 1.0]}))
        put("old", vasprun("5.2.2", shift=0.03))
        nuclei = {"LEFG": True, "QUAD_EFG": [104.1, -52.0, -25.6], "LHYPERFINE": True, "NGYROMAG": [11.3, 11.2, -5.8]}
        put("read_out", vasprun("6.3.2", shift=0.04, incar=nuclei | {"LKPROJ": True}))
        accepted, refused = imported(tmp_path)
        assert (accepted, refused) == (["explicit", "md", "old", "read_out", "static"], {})

    def test_a_list_of_gamma_alone_is_a_grid(self, put, tmp_path):
        grid = vasprun("6.3.2").replace("       2        2        2 ", "       6        6        6 ")
        start, end = grid.index("  <generation"), grid.index(" </kpoints>")
        points = "".join(
            f'  <varray name="{name}" >\n   <v>{"".join(f"{x:16.8f}" for x in row)} </v>\n  </varray>\n'
            for name, row in (("kpointlist", (0.0, 0.0, 0.0)), ("weights", (1.0,)))
        )
        put("a_grid", grid)
        alone = vasprun("6.3.2", shift=0.01)
        path = put("gamma", alone[:start] + points + alone[end:])
        assert Vasprun(path, parse_dos=False, parse_eigen=False, parse_potcar_file=False).actual_kpoints == [(0, 0, 0)]
        refused = imported(tmp_path)[1]
        assert refused["gamma"] == ("wrong_settings", "k-points that reach 6 against 36 Å")

    def test_shares_reported_with_exact_exchange_are_no_tags(self, put):
        text = vasprun("5.4.4", incar={"LHFCALC": True, "AEXX": 0.25, "AGGAC": 0.5})
        assert read_vasprun(put("set", text)).level.details["AGGAC"] == 0.5
        reported = text.replace('name="AGGAC">      0.50000000', 'name="OTHER">      0.50000000', 1)
        assert "AGGAC" not in read_vasprun(put("reported", reported)).level.details

    def test_every_tag_has_one_place(self):
        tables = [DETAILS, DEFAULTS, COMPARED, *NUMERICAL.values(), *RUN_TAGS.values()]
        tags = [tag for table in tables for tag in table]
        assert sorted(tags) == sorted(set(tags))

    def test_a_card_written_before_states_less_and_still_agrees(self, put, tmp_path):
        put("a", vasprun("6.3.2", 4.2))
        import_archive([tmp_path / "archive"], tmp_path / "data")
        card = (tmp_path / "data/dataset.yaml").read_text()
        assert "  complete: true\n" in card
        (tmp_path / "data/dataset.yaml").write_text(card.replace("  complete: true\n", ""))
        put("b", vasprun("6.3.2", 4.2, shift=0.01, incar={"VDW_S8": 0.79}))
        report = import_archive([tmp_path / "archive/b"], tmp_path / "data", append=True)
        assert report.frames == 1


class TestCharge:
    def test_charged_cells_are_another_level(self, put, tmp_path):
        for index, electrons in enumerate((0, 0, -1, 1)):
            put(f"{index}_{electrons}", vasprun("6.3.2", shift=0.01 * index, electrons=ELECTRONS + electrons))
        accepted, refused = imported(tmp_path)
        assert accepted == ["0_0", "1_0"]
        per_atom = round(1 / ATOMS, 8)
        assert refused == {
            "2_-1": ("wrong_settings", f"excess electrons per atom {-per_atom} against 0.0"),
            "3_1": ("wrong_settings", f"excess electrons per atom {per_atom} against 0.0"),
        }


class TestNotSelfConsistent:
    @pytest.mark.parametrize(
        ("tags", "said"),
        [
            ({"ICHARG": 11}, "ICHARG = 11 keeps the density fixed"),
            ({"ICHARG": 12}, "ICHARG = 12 keeps the density fixed"),
            ({"ALGO": " GW0"}, "ALGO = GW0 seeks no self-consistent ground state"),
            ({"ALGO": "Eigenval"}, "ALGO = EIGENVAL seeks no self-consistent ground state"),
            ({"IALGO": 2}, "IALGO = 2 seeks no self-consistent ground state"),
        ],
    )
    def test_refused_and_the_self_consistent_run_kept(self, tags, said, put, tmp_path):
        text = vasprun("5.4.4", energy_eV=-18.9, incar=tags)
        if "ALGO" in tags:
            text = text.replace('  <i type="string" name="ALGO"> Normal</i>\n', "", 1)
        # By name before the run whose density it uses, and of the same geometry.
        put("bands", text)
        put("static", vasprun("5.4.4"))
        accepted, refused = imported(tmp_path)
        assert accepted == ["static"]
        assert refused["bands"][0] == "not_self_consistent"
        assert said in refused["bands"][1]

    def test_its_outcar_is_no_second_chance(self, put, tmp_path):
        path = put("bands", vasprun("5.4.4", incar={"ICHARG": 11}))
        (path.parent / "OUTCAR").write_text("any")
        put("static", vasprun("5.4.4"))
        report = import_archive([tmp_path / "archive"], tmp_path / "data")
        assert [(item.path.name, item.reason) for item in report.refused] == [("vasprun.xml", "not_self_consistent")]
