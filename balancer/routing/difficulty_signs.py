"""Finds in the text of a request what makes it harder: the task, the field of knowledge, code and formulas (pure).

English words are looked up in sets, stems of Korean words by pattern. Only the beginning and the end of a text are read: a
request states its task there, and the time stays bounded however long the document between them is.
"""

import re
import string
from dataclasses import dataclass

__all__ = ["WINDOW", "TextSigns", "ends", "read_signs"]

WINDOW = 350
"""Characters that are read at the beginning of a text, and as many at its end."""
_TASK_WINDOW = 160
"""The same for the words that name the task: those inside of a document are not the request's."""
_QUESTION = 100
"""A text of more characters is no simple question, however it begins."""


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text.encode().split())


_PROOF = _words("prove proof disprove proofs derive induction decidable undecidable")
_SHOW_THAT = b"show that"
_ANALYSIS = _words(
    "analyze analyse analysis evaluate critically critique architect architecture redesign design refactor optimize "
    "optimise vectorize parallelize diagnose draft develop investigate implement discuss justify strategy tradeoffs "
    "minimize maximize generalize trade-off trade-offs hypotheses compiler interpreter scenario scenarios"
)
_ANALYSIS_PHRASES = (b"review th", b"find every", b"find out why")
_TASK = _words(
    "write explain summarize summarise compare plan rewrite fix extract implement outline describe list debug convert "
    "solve suggest difference differences pros cons replace improve test read check fill make add code compute calculate "
    "probability recommend"
)
_FIELDS = (
    # law
    _words(
        "liability liable statute statutes tort torts plaintiff defendant jurisdiction jurisdictions indemnity indemnify "
        "clause covenant breach damages negligence gdpr precedent appellate fiduciary forfeiture forfeit enforceable "
        "unenforceable infringement lawful tenant lease contract agreement injunction arbitration non-compete compliance "
        "regulation obligation licensee licensor"
    )
    # mathematics
    | _words(
        "theorem lemma eigenvalue eigenvalues eigenvectors integral integrals derivative differentiable continuous "
        "convergence converge converges polynomial modulo isomorphic isomorphism homomorphism cyclic subgroup topology "
        "manifold martingale stochastic orthonormal combinatorics recurrence asymptotic dual gradient bijection irrational "
        "equilibrium subgame-perfect parameters"
    )
    # software and systems
    | _words(
        "distributed concurrency concurrent deadlock deadlocks race races lock-free atomics consensus raft paxos consistency "
        "partition partitions partitioning scalability throughput latency thread-safe multi-tenant fault-tolerant invariants "
        "undefined sound unsafe cache garbage closures reorderings back-pressure backpressure kernel replication sharding "
        "idempotent rollback migration"
    )
    # medicine, economics and other sciences
    | _words(
        "diagnosis differential contraindications anticoagulation pharmacokinetics prognosis randomized controlled regression "
        "difference-in-differences confounding identification robustness endpoints valuation hedging hedged amortization "
        "covenants cash-flow econometric thermodynamics quantum transfer stability cohort churn experiment retention "
        "regulatory"
    )
)
_KOREAN_PROOF = re.compile("증명[하해되을 ]|귀납법|보이시오|보이고|유도하|반례|논증하")
_KOREAN_ANALYSIS = re.compile("분석|설계|검토|논하|비판|평가하|제안하|추론|최적화|리팩터링")
_KOREAN_TASK = re.compile("요약|설명|비교|작성|정리|번역해 |써 주|풀어 쓰|풀어 써|뽑아|짜 주|고쳐|찾아|추천|계산|알려 주|이유")
_KOREAN_FIELDS = re.compile(
    "판례|손해배상|소멸시효|청구권|가처분|채무불이행|담보책임|임대차|약정|조항|지체상금|적법|소송|극한|적분|미분|벡터|행렬|함수|확률|"
    "부등식|정역|교착|동시성|분산|일관성|장애 복구|트랜잭션|도구변수|식별 전략|실증|회귀|진단|감별|약물|인과|강건성"
)
_BETWEEN_WORDS = b"\n\t\r.,;:!?()[]{}\"'`*=<>/\\$|&+"
_TO_WORDS = bytes.maketrans(
    string.ascii_uppercase.encode() + _BETWEEN_WORDS, string.ascii_lowercase.encode() + b" " * len(_BETWEEN_WORDS)
)
_QUESTION_WORDS = frozenset(
    b"what which who whose when where is was are can how define translate convert classify spell name give in hi hello".split()
)
_COMMAND = re.compile(rb"\\[a-zA-Z]{2,}|\\[(\[]")
"""A command of LaTeX, or the beginning of one of its formulas."""
_CODE_LINES = (b"#include ", b"#!/", b"<?php")
"""Beginnings of lines of which one is enough."""
_LINE_ENDS = (b";", b"{", b"}", b"):", b"->", b"},", b"(", b"=>", b"; do", b"():")
_LINE_STARTS = tuple(
    (
        b"def |class |return |import |from |func |fn |let |const |var |public |private |static |package |struct |impl |template |"
        b"export |async |await |elif |else:|for (|if (|while (|@|SELECT |FROM |WHERE |GROUP BY|ORDER BY|HAVING |JOIN |LEFT JOIN|"
        b"INSERT INTO |CREATE TABLE "
    ).split(b"|")
)
_OPERATOR_CHARACTERS = b"=<>&|"
_OPERATORS = (b"==", b"!=", b"=>", b"->", b"::", b"&&", b"||", b"+=", b":=", b"<-", b"();", b" = ", b"[i]", b" | ", b" -")
_MOST_LINES = 40
_LONG_LINE = 200


@dataclass(slots=True)
class TextSigns:
    """What the text of one message asks for. `terms` counts the different terms of a field of knowledge."""

    proof: bool = False
    analysis: bool = False
    task: bool = False
    code: bool = False
    formula: bool = False
    question: bool = False
    terms: int = 0


def read_signs(text: str) -> TextSigns:
    """Return the signs in a text: those of its task from the very beginning and end, the others from `WINDOW` on each side."""
    task, read = ends(text, _TASK_WINDOW), ends(text, WINDOW)
    raw = read.encode("utf-8", "surrogatepass")
    lowered = raw.translate(_TO_WORDS)
    task_bytes = lowered if task is read else task.encode("utf-8", "surrogatepass").translate(_TO_WORDS)
    task_words = task_bytes.split()
    found = frozenset(task_words)
    english = found if task is read or not read.isascii() else frozenset(lowered.split())
    code = _has_code(raw)
    signs = TextSigns(
        proof=not found.isdisjoint(_PROOF) or _SHOW_THAT in task_bytes,
        analysis=not found.isdisjoint(_ANALYSIS) or any(phrase in task_bytes for phrase in _ANALYSIS_PHRASES),
        task=not found.isdisjoint(_TASK),
        code=code,
        formula=_has_formula(raw, code),
        question=len(text) <= _QUESTION and bool(task_words) and task_words[0] in _QUESTION_WORDS,
        terms=len(english & _FIELDS),
    )
    if not read.isascii():
        _read_korean(task, read, signs)
    return signs


def ends(text: str, window: int) -> str:
    """Return the first and the last `window` characters of a text; the whole of a text that is no longer."""
    return text if len(text) <= 2 * window else f"{text[:window]}\n{text[-window:]}"


def _read_korean(task: str, read: str, signs: TextSigns) -> None:
    signs.proof = signs.proof or _KOREAN_PROOF.search(task.replace("내용증명", "")) is not None
    signs.analysis = signs.analysis or _KOREAN_ANALYSIS.search(task) is not None
    signs.task = signs.task or _KOREAN_TASK.search(task) is not None
    signs.terms += len(set(_KOREAN_FIELDS.findall(task)))
    signs.question = signs.question or (len(read) <= _QUESTION // 2 and read.rstrip().endswith("?"))


def _has_formula(raw: bytes, code: bool) -> bool:
    if b"$$" in raw or (b"\\" in raw and _COMMAND.search(raw) is not None):
        return True
    return not code and b"$" in raw and any(b"^" in part for part in raw.split(b"$")[1::2])


def _has_code(raw: bytes) -> bool:
    if b"```" in raw or b"Traceback (most recent call last)" in raw:
        return True
    of_code = 0
    for line in raw.splitlines()[:_MOST_LINES]:
        if len(line) < _LONG_LINE:
            if line.startswith(_CODE_LINES):
                return True
            of_code += line.rstrip().endswith(_LINE_ENDS) or line.lstrip().startswith(_LINE_STARTS)
    if of_code >= 2:
        return True
    if len(raw.translate(None, _OPERATOR_CHARACTERS)) == len(raw):
        return False
    return of_code + sum(sign in raw for sign in _OPERATORS) >= 3 or (b"</" in raw and b'="' in raw)
