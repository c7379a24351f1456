"""Leaks of hints, and texts that only look like leaks."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from dopd_lightning.data.tasks import TASKS
from dopd_lightning.hints.leaks import answer_leaked, execution_leaked
from dopd_lightning.hints.stated_numbers import given_numbers, in_ascii, numbers_in, spelled_numbers, without_labels

SUM = "What is 12 + 34 - 5?"


def example(question, answer=None, **fields):
    return {"prompt": question, "answer": answer, **fields}


# ------------------------------------------------------------------------------------------------ final answer


@pytest.mark.parametrize(
    ("question", "answer", "hint"),
    [
        (SUM, "41", "Add, then subtract, and you will have 41."),
        (SUM, 41, "It comes to 41.0 in the end."),
        (SUM, "41", "That makes forty-one."),
        ("How much is left?", "$1,234.50", "Subtract it all to get 1234.5 dollars."),
        ("How much is left?", "1234", "You will find 1,234."),
        ("How many dollars?", "18 dollars", "She has $18 left."),
        ("What share?", "1/2", "It is 1/2 of the cake."),
        ("What share?", r"\frac{1}{2}", r"You should find \dfrac{1}{2}."),
        ("What share?", "0.75", "So 0.75 of them."),
        ("How cold?", "-7", "It falls to -7 degrees."),
        ("Who wrote it?", "Jane Austen", "Think of jane  austen's novels."),
        ("Simplify.", "x^2 + 1", "You get $x^2+1$."),
        ("Which set?", "(2, 3)", "It is the interval (2,3)."),
        ("How many?", "7", "Add both to get seven."),
        ("What share, as a decimal?", "0.5", "It is 1/2 of all."),
        ("What share?", "1/2", "It is ½ of all."),
        ("Solve 3x + 4 = 10.", "x = 2", "Divide, so x must be 2."),
        ("小明有12个苹果，又买了34个，一共有多少个？", "46", "第1步：把12和34相加。第2步：结果是46。"),
        ("12 더하기 34는?", "46", "12와 34를 더하면 합은46이다"),
        ("ما هو ١٢ + ٣٤؟", "46", "اجمع ١٢ و ٣٤ لتحصل على ٤٦"),
        ("What is 12 + 34?", "46", "It makes ４６."),
        ("Add 12 and 34 rupees.", "46", "It makes Rs46."),
        ("What is the sum of twenty and thirty?", "50", "Add twenty and thirty. The sum is 50."),
        (SUM, "41", "Find the total (41) carefully."),
        (SUM, "41", "Step 1: the total is\n41."),
        (SUM, "41", "41."),
        (SUM, "41", "In this step 41 is found, for each part 41."),
        # What stands in the question, and is called the answer all the same.
        (SUM.replace("5", "34"), "12", "The answer is 12."),
        (SUM.replace("5", "34"), "12", "So the answer is: x = 12 dollars."),
        (SUM.replace("5", "34"), "12", "The answer is twelve."),
        (SUM.replace("5", "34"), "12", "The answer is therefore 12."),
        ("Which? A) cat B) dog", "B", "Dogs bark, so the correct option is B."),
        (SUM.replace("5", "34"), "12", r"Then \boxed{12}"),
        ("Is 7 prime? Say yes or no.", "yes", "It has no divisor, so the answer is yes."),
        ("Which? A) cat B) dog", "B", "Dogs bark: answer: B"),
        ("Which? A) cat B) dog", "B", r"Dogs bark: \boxed{B}"),
        # Answers that are themselves marked.
        (SUM, "12 + 34 = 46, 46 - 5 = 41\n#### 41", "It is 41."),
        (SUM, "<answer>41</answer>", "It is 41."),
    ],
)
def test_an_answer_that_stands_in_the_hint(question, answer, hint):
    reason = answer_leaked(hint, example(question, answer))
    assert reason is not None
    assert reason.name == "answer_leaked"
    assert "it contains the final answer, " in reason.sentence


@pytest.mark.parametrize(
    ("question", "answer", "hint"),
    [
        ("What is 12 + 34 - 34?", "12", "Step 1: add 12 and 34. Step 2: subtract 34."),
        (SUM.replace("5", "34"), "12", "The answer is found by adding 12 and 34."),
        ("How many steps?", "1", "#### Step 1\nAdd."),
        ("There are twelve eggs. How many?", "12", "Count the 12 eggs."),
        ("A dozen eggs. How many?", "12", "A dozen is 12."),
        (SUM, "41", "Add 141 and 410, or 4.1."),
        ("How many steps?", "4", "Step 1: begin.\nStep 4: look at the result of step 4."),
        ("How many?", "3", "1. Begin.\n2. Go on.\n3. Count."),
        ("How many?", "3", "(1) Begin. (2) Go on. (3) Count."),
        ("How many?", "3", "Take the 3rd of them."),
        ("Split 12 / 3 by two.", "2", "Split it into two parts."),
        ("What is 12 divided by 3?", "4", "Work out 12 / 3."),  # a division, and no quarter of sixteen
        ("What is 12 divided by 5?", "2.4", "Work out 12/5."),
        ("What is 40 plus 2?", "42", "Add forty and two."),
        ("Is 7 prime?", "no", "There is no other divisor to look for."),
        ("Which?", "B", "Begin at point B of the triangle."),
        ("Which?", "A", "Find a way."),
        ("Where is Paris?", "Paris", "It is Paris."),
        ("Who wrote it?", "Ann", "Count the annual planning."),
        ("Solve for x.", "3x", "There are 3 of them."),
        ("What is it?", None, "It is 41."),
        ("What is it?", "", "It is 41."),
    ],
)
def test_what_is_no_leak(question, answer, hint):
    assert answer_leaked(hint, example(question, answer)) is None


def test_where_there_is_no_answer_that_of_the_completion_counts_if_it_is_marked():
    assert answer_leaked("It is 41.", example(SUM, completion=r"12 + 34 = 46, so \boxed{41}"))
    assert answer_leaked("It is 41.", example(SUM, completion="12 + 34 = 46\n46 - 5 = 41")) is None


def test_all_of_a_chat_is_the_question():
    chat = [{"role": "system", "content": "Use 7."}, {"role": "user", "content": "How many?"}]
    assert answer_leaked("Take the 7.", example(chat, "7")) is None
    assert answer_leaked("Take the 8.", example(chat, "8"))


# --------------------------------------------------------------------------------------------------- execution


@pytest.mark.parametrize(
    ("hint", "what"),
    [
        ("12 + 34 = 46.", "it calculates 12+34=46"),
        ("First 12 + 34 gives 46.", "it has 46, which the question does not give"),
        ("Add them (46), then go on.", "it has 46"),
        ("Add them (that is 46) and go on", "it has 46"),
        ("Add them (46) and go on", "it has 46"),
        ("Add them.\n**46.**", "it has 46"),
        ("Step 1: add.\n- 46. Step 2: subtract.", "it has 46"),
        ("In this step 46 apples are counted.", "it has 46"),
        ("第1步：12加34得46。", "it has 46"),
        ("You get forty-six.", "it has forty-six"),
        ("Step 1: 46.", "it has 46"),
        ("After step 3, 46 remain.", "it has 46"),
        ("1.46 is left", "it has 1.46"),
        # Both sides of the equation stand in the question, but it does not.
        ("34 - 12 - 17 = 5", "it calculates 34-12-17=5"),
        (r"$34 \times 12 = 5$", "it calculates 34×12=5"),
        ("12 x 34 = 5", "it calculates 12×34=5"),
        ("(12 + 34) * 5 = 12", "it calculates (12+34)*5=12"),
        ("12 ÷ 34 ≈ 5", "it calculates 12÷34≈5"),
    ],
)
def test_results_in_a_hint(hint, what):
    reason = execution_leaked(hint, example(SUM))
    assert reason is not None
    assert reason.name == "execution_leaked"
    assert what in reason.sentence


@pytest.mark.parametrize(
    ("question", "hint"),
    [
        (SUM, "Step 1: add 12 and 34. Step 2: subtract 5 from the result of step 1."),
        (SUM, "Step 7: look again at steps 8 and 9."),
        (SUM, "1. Add.\n2. Subtract.\n3. Look at the 8th digit.\n4. Begin again:\n1) Add. 2) Subtract."),
        (SUM, "Schritt 7: addiere. Étape 8 : ajoutez. 第9步：加。"),
        (SUM, "Half of it is 2 times less, by 100 percent, in 10 parts."),
        (SUM, "Work out 12 + 34 and call it x1, then x1 - 5 = ?"),
        (SUM, "Let x = 12 and y = 34."),
        ("Solve 2x + 3 = 11.", "Subtract 3 on both sides of 2x + 3 = 11."),
        ("It says 4 + 5 = 9. Is it so?", "Look whether 4+5=9 holds."),
        ("She has twenty-five apples and twice as many pears.", "Take 25 and multiply by 2."),
        ("A jacket of $40 is 20% off.", "Take 20% of 40, which is 0.2 times 40."),
        ("There are 1,000 of them.", "Divide the 1000."),
        ("小明有12个苹果，又买了34个，一共有多少个？", "把 12 和 34 相加。"),
        ("What is the sum of twenty and thirty?", "Add 20 and 30."),
        ("A number such as 0.50 is given.", "Use 0.5."),
    ],
)
def test_what_the_question_gives_and_what_only_counts_is_no_result(question, hint):
    assert execution_leaked(hint, example(question)) is None


def test_what_else_is_allowed_is_configured():
    hint = "Multiply the hours by 60."
    assert "60" in execution_leaked(hint, example("How many minutes?")).sentence
    assert execution_leaked(hint, example("How many minutes?"), allowed_numbers=(60,)) is None
    assert execution_leaked("Take 0.1 of it.", example("How many?"), allowed_numbers=(0.1,)) is None


def test_many_numbers_are_not_all_listed():
    sentence = execution_leaked(" ".join(str(n) for n in range(50, 60)), example("?")).sentence
    assert sentence == "it has 50, 51, 52, 53, 54 and 5 more, which the question does not give"


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("kind", ["steps", "summary", "steps_executed"])
def test_our_own_hints_are_judged_as_they_were_meant(name, kind):
    """Against hints that were written without a model: those without results pass, those with them do not."""
    import reasoning_gym

    entries = reasoning_gym.create_dataset(name, seed=7, size=60)
    found = []
    for entry in entries:
        # Some of ours name earlier results by number ("result 1 * 5"), or count steps; a model is not asked to.
        hint = re.sub(r"\bresult \d+\b|\b\d+ times\b", "that", TASKS[name].hint(entry, kind))
        row = example(entry["question"], entry["answer"])
        found.append((execution_leaked(hint, row), answer_leaked(hint, row)))
    executed = sum(execution is not None for execution, _ in found) / len(found)
    leaked = sum(answer is not None for _, answer in found) / len(found)
    if kind == "steps_executed":
        assert executed >= 0.95
        assert leaked >= 0.85  # an answer may stand in the question as well
    else:
        assert executed <= 0.05
        assert leaked <= 0.05


# ----------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("12 + 34 - 5", [12, 34, 5]),
        ("1,234.50 and .5", [Fraction("1234.5"), Fraction(1, 2)]),
        ("12/3", [12, 3]),
        ("x1, a_2 and H2O", []),
        ("得46，USD46, Rs46", [46, 46, 46]),
        ("−7 and -8", [7, 8]),
        ("1e3", [1000]),
        ("1" + "0" * 5000, []),  # more digits than Python reads
    ],
)
def test_numbers_in_digits(text, values):
    assert [number.value for number in numbers_in(text)] == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("forty-six", [46]),
        ("Two hundred and five, then nine", [205, 9]),
        ("three thousand four hundred", [3400]),
        ("two million", [2_000_000]),
        ("one million two thousand and thirty-one", [1_002_031]),
        ("twenty and thirty, or seven and eight", [20, 30, 7, 8]),
        ("a hundred thousand", [100_000]),
        ("hundred", [100]),
        ("someone often weighs", []),
    ],
)
def test_numbers_in_words(text, values):
    assert [number.value for number in spelled_numbers(text)] == values


def test_what_a_question_gives():
    assert given_numbers("Half of 20% of a dozen, 3/4 twice") >= {Fraction(1, 2), Fraction(1, 5), 20, 12, 3, 4, 2}
    assert Fraction(3, 4) in given_numbers("3/4")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("４６＋٤٦", "46+46"),
        ("½ and 1½½", "1/2 and 1 1/2 1/2"),
        ("x² · 5³ × 2", "x² · 5³ × 2"),
        ("第一步：加。", "第一步:加。"),
    ],
)
def test_numbers_of_other_scripts(text, same):
    assert in_ascii(text) == same


@pytest.mark.parametrize(
    "text", ["Add 12.", "Get 46.", "f(46)", "46 steps", "Step 46.5", "Step 123", "(46) is left", "1.", "this step 4"]
)
def test_what_is_no_label(text):
    assert without_labels(text) == text
