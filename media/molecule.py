"""Molecule: a structure from a file, a text, an RDKit molecule or a SMILES."""

import io
from collections.abc import Callable, Sequence
from typing import Any, Final

from milepost.media.base import FileMedia, Payload, captions
from milepost.media.files import is_path, read, suffix
from milepost.sdk.errors import DataError, MissingDependencyError

FORMATS: Final = ("pdb", "pqr", "mmcif", "mcif", "cif", "sdf", "sd", "gro", "mol", "mol2", "mmtf", "xyz")


class Molecule(FileMedia):
    """A molecule.

    data_or_path: the path of a file that ends in .pdb, .pqr, .mmcif, .mcif, .cif, .sdf, .sd, .gro, .mol, .mol2, .mmtf or .xyz;
                  or an object open for reading, whose name ends so or whose file_type is given.
    caption:      a text shown with it.
    file_type:    the format, without dot, of what has no name.

    Raises DataError (a ValueError) for another format, and for a file whose content is not of its format.
    """

    type_name = "molecule-file"

    def __init__(self, data_or_path: Any, caption: Any = None, file_type: str | None = None) -> None:
        if not is_path(data_or_path) and not callable(getattr(data_or_path, "read", None)):
            raise DataError(
                f"Molecule: a path or an open file is needed, got {type(data_or_path).__name__}; for RDKit use "
                "Molecule.from_rdkit, for SMILES Molecule.from_smiles"
            )
        name: Any = data_or_path if is_path(data_or_path) else getattr(data_or_path, "name", None)
        extension = (file_type or (suffix(name) if is_path(name) else "")).lower().lstrip(".")
        if extension not in FORMATS:
            raise DataError(f"Molecule: the format is {extension or 'unknown'!r}; it can be {', '.join(FORMATS)}")
        content = read(data_or_path, "Molecule")
        check = _CHECKS.get(extension)
        if check is not None and not check(content):
            raise DataError(
                f"Molecule: {name or 'the open file'} holds nothing that a {extension} file has; is it another format?"
            )
        self._keep(Payload(content, "molecule", extension), {"format": extension}, caption)

    @classmethod
    def from_rdkit(
        cls,
        data_or_path: Any,
        caption: Any = None,
        convert_to_3d_and_optimize: bool = True,
        mmff_optimize_molecule_max_iterations: int = 200,
    ) -> "Molecule":
        """An RDKit molecule, or a file that RDKit reads, in three dimensions. Raises MissingDependencyError without rdkit."""
        chemistry, shapes = _rdkit()
        molecule = data_or_path
        if is_path(data_or_path):
            kind = suffix(data_or_path)
            readers = {
                "mol": chemistry.MolFromMolFile,
                "pdb": chemistry.MolFromPDBFile,
                "sdf": chemistry.MolFromMolFile,
            }
            if kind not in readers:
                raise DataError(f"Molecule.from_rdkit: {data_or_path} must end in .mol, .sdf or .pdb")
            molecule = readers[kind](str(data_or_path))
        if not isinstance(molecule, chemistry.rdchem.Mol):
            raise DataError(f"Molecule.from_rdkit: an RDKit molecule is needed, got {type(molecule).__name__}")
        if convert_to_3d_and_optimize:
            molecule = chemistry.AddHs(molecule)
            shapes.EmbedMolecule(molecule, randomSeed=0)
            shapes.MMFFOptimizeMolecule(molecule, maxIters=mmff_optimize_molecule_max_iterations)
        return cls(io.StringIO(chemistry.MolToPDBBlock(molecule)), caption=caption, file_type="pdb")

    @classmethod
    def from_smiles(cls, data: str, caption: Any = None, sanitize: bool = True, **keywords: Any) -> "Molecule":
        """The molecule of a SMILES text, in three dimensions. Raises MissingDependencyError without rdkit, else DataError."""
        chemistry, _ = _rdkit()
        molecule = chemistry.MolFromSmiles(data, sanitize=sanitize)
        if molecule is None:
            raise DataError(f"Molecule.from_smiles: {data!r} is no SMILES that RDKit can read")
        return cls.from_rdkit(molecule, caption, **keywords)

    @classmethod
    def group(cls, items: Sequence["Molecule"]) -> dict[str, Any]:
        """Molecules of one row."""
        return {
            "_type": "molecule",
            "count": len(items),
            "filenames": [item.payload.name() for item in items],
            "files": [item.as_value() for item in items],
            "captions": [False if text is None else text for text in (captions(items) or [None] * len(items))],
        }


def _rdkit() -> tuple[Any, Any]:
    from importlib import import_module

    try:
        return import_module("rdkit.Chem"), import_module("rdkit.Chem.AllChem")
    except ImportError:
        raise MissingDependencyError("Molecule: RDKit is needed for this; install it with: pip install rdkit") from None


def _holds(*words: bytes) -> Callable[[bytes], bool]:
    return lambda content: any(word in content for word in words)


def _is_xyz(content: bytes) -> bool:
    lines = content.decode(errors="replace").splitlines()
    return bool(lines) and lines[0].strip().isdigit() and len(lines) >= int(lines[0]) + 2


_CHECKS: Final[dict[str, Callable[[bytes], bool]]] = {
    "pdb": _holds(b"ATOM", b"HETATM", b"HEADER", b"COMPND"),
    "pqr": _holds(b"ATOM", b"HETATM"),
    "mmcif": _holds(b"data_"),
    "mcif": _holds(b"data_"),
    "cif": _holds(b"data_"),
    "sdf": _holds(b"V2000", b"V3000"),
    "sd": _holds(b"V2000", b"V3000"),
    "mol": _holds(b"V2000", b"V3000"),
    "mol2": _holds(b"@<TRIPOS>"),
    "xyz": _is_xyz,
}
"""What a file of a text format holds in any case; cheap, and enough to see a file that was given the wrong name."""
