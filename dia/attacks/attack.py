"""The interface of all attacks: an attack is what it does, a run is who watches."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from dia.attacks.optimisation.compilation import Compilation
from dia.attacks.optimisation.graph_replay import GraphReplay
from dia.attacks.optimisation.state import SearchProgress, SearchState
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem


class Observer(Protocol):
    """Sees every iteration; may measure against the truth, which the attack itself never sees."""

    def __call__(self, state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None: ...


class Attack(Protocol):
    """An attack on all victims of a problem."""

    @property
    def optimises_masks(self) -> bool:
        """Tell whether its iterations have masks, which an observer can compare with the client's."""

    def run(
        self,
        *,
        observe: Observer | None = None,
        on_iteration: Callable[[SearchProgress], None] | None = None,
        notify: Callable[[str], None] | None = None,
        resume: SearchProgress | None = None,
        compilation: Compilation | None = None,
        graphs: GraphReplay | None = None,
    ) -> Outcome:
        """Attack every victim.

        Args:
            observe: Called in every iteration. An attack without iterations ignores all arguments but ``notify``.
            on_iteration: Called before every iteration with all that a later run needs in order to continue from
                there: the place for checkpoints. An exception that it raises ends the attack.
            notify: Receives a line about anything unusual, such as a chunk that had to be halved.
            resume: What ``on_iteration`` was given last in a run that was interrupted; None starts at the beginning.
            compilation: Compiles the loss and its gradients, or says why not; None compiles nothing.
            graphs: Replays evaluations as CUDA graphs, or says why not; None replays nothing.
        """

    def check(self, progress: SearchProgress) -> None:
        """Check progress that was read from a file before it is resumed.

        Raises:
            ValueError: This attack cannot have made it; says what is wrong.
        """


class AttackBuilder(Protocol):
    """The function that a registry entry names."""

    def __call__(self, problem: Problem, victims_per_chunk: int | None = None) -> Attack:
        """The attack on a problem.

        Args:
            problem: The victims as the server sees them.
            victims_per_chunk: How many victims share a batch; None chooses by the memory that one needs.
        """
