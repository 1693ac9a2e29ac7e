"""Labels and scores in every form that programs have them in, and an error that says what is wrong with any other."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from milepost.media.classes import one_against_rest
from milepost.media.confusion import confusion
from tests.media.properties import CHECKED

TRUE = [0, 0, 1, 1]
SCORES = [[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]]


def told(y_true: Any, y_probas: Any, **more: Any) -> list[tuple[Any, list[bool], list[float]]]:
    """Name, members and scores of each class."""
    return [
        (one.name, one.positive.tolist(), one.score.tolist())
        for one in one_against_rest("pr_curve", y_true, y_probas, **more)
    ]


class Tensor:
    """Stands for a tensor that has to be detached and moved first."""

    dtype = "torch.float32"

    def __init__(self, values: Any) -> None:
        self.values = values

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> Any:
        return self.values


BOTH = [(0, [True, True, False, False], [0.9, 0.6, 0.65, 0.2]), (1, [False, False, True, True], [0.1, 0.4, 0.35, 0.8])]


@pytest.mark.parametrize(
    ("y_true", "y_probas"),
    [
        (TRUE, SCORES),
        (tuple(TRUE), tuple(map(tuple, SCORES))),
        (np.array(TRUE), np.array(SCORES)),
        (np.array(TRUE, dtype=np.uint8), np.array(SCORES)),
        (np.array(TRUE, dtype=float), np.array(SCORES)),
        (np.array(TRUE).reshape(-1, 1), np.array(SCORES)),
        (np.array(TRUE, dtype=object), np.array(SCORES, dtype=object)),
        (pd.Series(TRUE), pd.DataFrame(SCORES)),
        (pd.Series(TRUE, dtype="Int64"), pd.DataFrame(SCORES)),
        (Tensor(np.array(TRUE)), Tensor(np.array(SCORES))),
        ([False, False, True, True], SCORES),
        ((value for value in TRUE), SCORES),
        (TRUE, [np.array(row) for row in SCORES]),
    ],
)
def test_labels_and_scores_are_read_from_what_programs_hold_them_in(y_true: Any, y_probas: Any) -> None:
    assert told(y_true, y_probas) == BOTH


def test_one_column_of_scores_is_that_of_the_second_class() -> None:
    positive = [row[1] for row in SCORES]

    assert told(TRUE, positive) == told(TRUE, [[score] for score in positive]) == BOTH[1:]


def test_text_classes_are_sorted_and_name_themselves() -> None:
    assert [name for name, _, _ in told(["dog", "dog", "cat", "cat"], SCORES, labels=["x", "y"])] == ["cat", "dog"]
    assert [name for name, _, _ in told(pd.Series(["b", "b", "a", "a"], dtype="category"), SCORES)] == ["a", "b"]


def test_labels_name_integer_classes_by_index_or_key() -> None:
    assert [name for name, _, _ in told(TRUE, SCORES, labels=["cat", "dog"])] == ["cat", "dog"]
    assert [name for name, _, _ in told([2, 2, 5, 5], SCORES, labels={2: "cat", 5: "dog"})] == ["cat", "dog"]
    assert [name for name, _, _ in told([2.0, 2, 5, 5], SCORES)] == [2.0, 5.0]


def test_classes_to_plot_are_those_and_an_absent_one_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert told(TRUE, SCORES, classes_to_plot=[1, 7]) == BOTH[1:]
    assert "no sample is of class 7" in caplog.text


def test_a_class_without_samples_leaves_the_columns_of_the_others_where_they_are() -> None:
    scores = [[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]

    assert told([0, 2], scores) == [(0, [True, False], [0.7, 0.1]), (2, [False, True], [0.1, 0.7])]
    assert told(["a", "c"], scores, labels=["a", "b", "c"]) == [
        ("a", [True, False], [0.7, 0.1]),
        ("c", [False, True], [0.1, 0.7]),
    ]


@pytest.mark.parametrize(
    ("y_true", "y_probas", "more", "message"),
    [
        (None, SCORES, {}, "y_true is missing"),
        (TRUE, None, {}, "y_probas is missing"),
        ([], [], {}, "y_true is empty"),
        (3, SCORES, {}, "y_true cannot be read"),
        ("text", SCORES, {}, "y_true must be a list.*str"),
        ({0, 1}, SCORES, {}, "set, which has no order"),
        (TRUE, SCORES[:3], {}, "y_true has 4 values and y_probas 3 rows"),
        (np.eye(4), SCORES, {}, r"y_true has shape \(4, 4\).*argmax"),
        (TRUE, np.zeros((4, 2, 2)), {}, r"y_probas has shape \(4, 2, 2\)"),
        ([0, 1, 2, 2], SCORES, {}, "2 columns and y_true 3 classes"),
        (["a", "b", "c", "c"], np.zeros((4, 5)), {}, "5 columns and y_true 3 classes"),
        ([0, 0, 0, 0], SCORES, {"labels": []}, "class 0, and labels has 0 names"),
        ([0, 1, -1, 1], np.zeros((4, 3)), {"labels": ["a", "b"]}, "class -1"),
        (TRUE, SCORES, {"labels": "ab"}, "labels must be a list"),
        (TRUE, SCORES, {"classes_to_plot": [7]}, r"none of classes_to_plot \[7\]"),
        ([0, 1, None, 1], SCORES, {}, r"y_true\[2\] is None"),
        ([0, 1, float("nan"), 1], SCORES, {}, r"y_true\[2\] is NaN"),
        (pd.Series([0, 1, None, 1], dtype="Int64"), SCORES, {}, r"y_true\[2\] is"),
        ([0.5, 1, 0, 1], SCORES, {}, r"y_true\[0\] is 0.5, which is no class"),
        ([0, "a", 1, 1], SCORES, {}, "y_true mixes int, str"),
        (TRUE, [[0.9, float("nan")], *SCORES[1:]], {}, r"y_probas\[0, 1\] is nan"),
        (TRUE, [[0.9, float("inf")], *SCORES[1:]], {}, r"y_probas\[0, 1\] is inf"),
        (TRUE, [[0.9, 0.1], [0.6], *SCORES[2:]], {}, "y_probas cannot be read"),
        (TRUE, [["a", "b"]] * 4, {}, "y_probas has dtype <U1"),
        (TRUE, np.array(SCORES, dtype=complex), {}, "y_probas has dtype complex128"),
        (TRUE, [[None, 0.1], *SCORES[1:]], {}, "y_probas must be numbers|is nan"),
        (np.array([1, 2, 3, 4], dtype="M8[s]"), SCORES, {}, "y_true has dtype datetime64"),
    ],
)
def test_an_error_names_argument_place_and_what_is_expected(
    y_true: Any, y_probas: Any, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^pr_curve: .*({message})"):
        one_against_rest("pr_curve", y_true, y_probas, **more)


def reference(y_true: Any, preds: Any, **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a single class
        return confusion_matrix(y_true, preds, **more)


LABELS = st.one_of(
    st.lists(st.tuples(st.integers(-2, 4), st.integers(-2, 4)), min_size=1, max_size=40),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=40),
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40),
)


@CHECKED
@given(LABELS)
def test_the_confusion_matrix_is_that_of_scikit_learn(pairs: list[tuple[Any, Any]]) -> None:
    y_true, preds = map(list, zip(*pairs, strict=True))

    names, counts = confusion("confusion_matrix", y_true, preds)

    assert counts.tolist() == reference(y_true, preds).tolist()
    assert counts.dtype.kind == "i"
    assert len(names) == len(counts)


@CHECKED
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=40))
def test_samples_count_for_their_weight(triples: list[tuple[int, int, int]]) -> None:
    triples[0] = (*triples[0][:2], 1)
    y_true, preds, weight = map(list, zip(*triples, strict=True))

    _, counts = confusion("confusion_matrix", y_true, preds, sample_weight=weight)

    assert counts.tolist() == reference(y_true, preds, sample_weight=weight).tolist()


def test_all_names_have_a_row_and_a_column_also_those_that_never_occur() -> None:
    names, counts = confusion("confusion_matrix", [0, 2], [2, 2], class_names=["a", "b", "c"])

    assert names == ["a", "b", "c"]
    assert counts.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]


def test_labels_may_be_the_names_themselves() -> None:
    names, counts = confusion("confusion_matrix", ["b", "a"], ["b", "b"], class_names=["b", "a"])

    assert (names, counts.tolist()) == (["b", "a"], [[1, 0], [1, 0]])
    assert confusion("confusion_matrix", ["b", "a"], ["b", "b"])[0] == ["a", "b"]


def test_the_most_likely_class_is_predicted() -> None:
    probs = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [0.0, 0.1, 0.9]])

    assert confusion("c", [1, 1, 2], probs=probs)[1].tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert confusion("c", ["b", "b", "c"], probs=probs, class_names=list("abc"))[1].tolist() == [
        [0, 0, 0],
        [1, 1, 0],
        [0, 0, 1],
    ]
    assert confusion("c", ["a", "b", "c"], probs=probs)[1].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y_true": [0], "preds": [0], "probs": [[1.0]]}, "both probs and preds"),
        ({"y_true": [0]}, "preds is missing"),
        ({"y_true": None, "preds": [0]}, "y_true is missing"),
        ({"y_true": [0, 1], "preds": [0]}, "preds has 1 predictions and y_true 2 values"),
        ({"y_true": [0, 1], "probs": [[0.5, 0.5]]}, "probs has 1 predictions and y_true 2 values"),
        ({"y_true": [0, 1], "probs": [0.5, 0.5]}, "probs has one score per sample"),
        ({"y_true": [0, 5], "preds": [0, 1], "class_names": ["a", "b"]}, r"y_true\[1\] is 5, and class_names has 2"),
        ({"y_true": [0, 1], "preds": [0, -1], "class_names": ["a", "b"]}, r"preds\[1\] is -1, and class_names has 2"),
        ({"y_true": ["a", "x"], "preds": ["a", "a"], "class_names": ["a", "b"]}, r"y_true\[1\] is 'x'"),
        ({"y_true": [0, 1], "preds": [0.2, 0.9]}, r"preds\[0\] is 0.2.*scores as probs"),
        ({"y_true": ["a", "b"], "preds": [0, 1]}, "of one kind"),
        ({"y_true": [0, 1], "preds": [0, 1], "class_names": []}, "class_names is empty"),
        ({"y_true": [0, 1], "preds": [0, 1], "class_names": "ab"}, "class_names must be a list"),
        ({"y_true": [0, 1], "probs": [[1, 0]] * 2, "class_names": ["a", "b", "c"]}, "2 columns and class_names 3"),
        ({"y_true": ["a", "a"], "probs": [[1, 0]] * 2}, "2 columns and y_true 1 classes of text"),
        ({"y_true": [0, 1], "preds": [0, 1], "sample_weight": [1]}, "sample_weight has shape"),
        ({"y_true": [0, 1], "preds": [0, 1], "sample_weight": [1, -1]}, r"sample_weight\[1\] is -1"),
        ({"y_true": [0, 1], "preds": [0, 1], "sample_weight": [0, 0]}, "all of sample_weight is 0"),
    ],
)
def test_an_error_of_the_matrix_names_argument_and_what_is_expected(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^confusion_matrix: .*({message})"):
        confusion("confusion_matrix", **arguments)
