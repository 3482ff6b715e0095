"""Step 2: make synthetic volumes and scan them."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QWidget,
)

from napari_memscan.widgets.common.box_layouts import (
    add_widgets,
    make_column,
    make_row,
    make_wrapped_label,
)
from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import ThemeColours

AS_RECIPE = "as the checkpoint says"


class GenerateView(QWidget):
    """How many volumes from which seed, how far it is, and Stop.

    Attributes
    ----------
    start_requested : Signal()
        Generate, then scan.
    scan_requested : Signal()
        Only scan what is there.
    stop_requested : Signal()
        End the running job.
    """

    start_requested = Signal()
    scan_requested = Signal()
    stop_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.about = make_wrapped_label()
        self.n = QSpinBox()
        self.n.setRange(1, 100_000)
        self.n.setValue(16)
        self.n.setToolTip("Volumes in all from this seed; those that exist are not made again")
        self.seed = QSpinBox()
        self.seed.setRange(0, 2_000_000_000)
        self.seed.setToolTip("The same seed makes the same volumes")
        self.sampler = QComboBox()
        self.sampler.addItem(AS_RECIPE, None)
        for name in ("ddim", "ddpm"):
            self.sampler.addItem(name.upper(), name)
        self.steps = QSpinBox()
        self.steps.setRange(0, 1000)
        self.steps.setSpecialValueText(AS_RECIPE)
        self.steps.setToolTip("Denoising steps a volume")
        self._form = QWidget()
        form = QFormLayout(self._form)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Volumes", self.n)
        form.addRow("Seed", self.seed)
        form.addRow("Sampler", self.sampler)
        form.addRow("Steps", self.steps)
        self.start_button = QPushButton("Generate and scan")
        self.scan_button = QPushButton("Scan only")
        self.scan_button.setToolTip("Compare the volumes that exist with the training volumes")
        self.stop_button = QPushButton("Stop")
        self.start_button.clicked.connect(self.start_requested)
        self.scan_button.clicked.connect(self.scan_requested)
        self.stop_button.clicked.connect(self.stop_requested)
        buttons = make_row(self.start_button, self.scan_button, self.stop_button, spacing=3)
        self.volume_label = make_wrapped_label()
        self.volume_bar = QProgressBar()
        self.step_label = QLabel()
        self.step_bar = QProgressBar()
        self.message = Message()
        layout = make_column(self)
        add_widgets(layout, self.about, self._form)
        layout.addLayout(buttons)
        add_widgets(layout, self.volume_label, self.volume_bar, self.step_label, self.step_bar)
        layout.addWidget(self.message)
        layout.addStretch(1)
        self.set_running(False)

    def settings(self) -> dict[str, object]:
        """Return ``n``, ``seed``, ``sampler`` and ``steps``; None where the checkpoint decides."""
        return {
            "n": self.n.value(),
            "seed": self.seed.value(),
            "sampler": self.sampler.currentData(),
            "steps": self.steps.value() or None,
        }

    def set_source(self, text: str, sampled: bool) -> None:
        """Say what generates; volumes made elsewhere (`sampled` False) have no settings."""
        self.about.setText(text)
        self._form.setVisible(sampled)
        self.start_button.setText("Generate and scan" if sampled else "Scan")
        self.scan_button.setVisible(sampled)

    def set_running(self, running: bool) -> None:
        """Show the bars and Stop while a job runs."""
        self._form.setEnabled(not running)
        self.start_button.setEnabled(not running)
        self.scan_button.setEnabled(not running)
        self.stop_button.setEnabled(running)
        for bar in (self.volume_bar, self.step_bar):
            bar.setVisible(running)
            bar.setRange(0, 0)
        for label in (self.volume_label, self.step_label):
            label.setVisible(running)
            label.setText("")
        self.step_bar.hide()
        self.step_label.hide()
        if running:
            self.volume_label.setText("Starting…")

    def set_stopping(self) -> None:
        """Say that Stop was heard."""
        self.stop_button.setEnabled(False)
        self.volume_label.setText("Stopping after this step…")

    def set_volumes(self, done: int, total: int, what: str) -> None:
        """Say how many volumes are done."""
        self.volume_bar.setRange(0, max(total, 1))
        self.volume_bar.setValue(done)
        self.volume_label.setText(f"{what} {done} of {total}")

    def set_step(self, step: int, total: int) -> None:
        """Say how far the volume in work is."""
        self.step_bar.show()
        self.step_label.show()
        self.step_bar.setRange(0, total)
        self.step_bar.setValue(step)
        self.step_label.setText(f"denoising step {step} of {total}")

    def hide_steps(self) -> None:
        """Hide the inner bar: the job has no steps now."""
        self.step_bar.hide()
        self.step_label.hide()

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self.message.set_theme(look)
