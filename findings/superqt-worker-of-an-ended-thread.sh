#!/usr/bin/env bash
# A worker that was made in a thread is never heard of again, or only by some of its listeners
#
# One would guess: superqt's workers (napari's thread_worker and create_worker) report through Qt
# signals, so it does not matter which thread made one: returned and finished reach all listeners.
# What happens: a worker's signals belong to the thread that made it. A function, a lambda or a
# method of a plain object that was connected there is called in that thread, by its event loop; a
# thread that has ended, or never had one, calls nothing. Work is done, its result is lost, nothing
# is logged. Only methods of a QObject of the main thread hear of it. The worker's own clean-up is a
# listener of the lost kind: superqt goes on listing it as running. For a worker that was made in a
# thread and started in the main one, PyQt6 takes it off that list and PySide6 does not.
# Version: superqt 0.9.0, QtPy 2.4.3, PyQt6 6.11.0 with PyQt6-Qt6 6.11.2, PySide6 6.11.2.
# Source: WorkerBase of superqt/utils/_qthreading.py; Qt's documentation, "Threads and QObjects", on
# queued connections.
# Needs the system's libraries of Qt (tools/system-libraries), but no display.
set -euo pipefail
. "$(dirname "$0")/_fresh.sh" superqt==0.9.0 QtPy==2.4.3 PyQt6==6.11.0 PyQt6-Qt6==6.11.2 \
  PySide6_Essentials==6.11.2

cat > listen.py <<'END'
import os
import sys
import threading
from importlib.metadata import version

os.environ["QT_API"] = sys.argv[1]
from qtpy import API_NAME, QT_VERSION
from qtpy.QtCore import QCoreApplication, QObject, QTimer
from superqt.utils import create_worker
from superqt.utils._qthreading import WorkerBase

app = QCoreApplication([])
heard = set()


class Window(QObject):
    def hear(self, value):
        heard.add("method of a QObject")


class Plain:
    def hear(self, value):
        heard.add("method of a plain object")


window, plain = Window(), Plain()
ALL = {"function", "method of a plain object", "method of a QObject"}
print(f"superqt {version('superqt')}, {API_NAME}, Qt {QT_VERSION}")


def make(started):
    worker = create_worker(lambda: 3)
    worker.returned.connect(lambda value: heard.add("function"))
    worker.returned.connect(plain.hear)
    worker.returned.connect(window.hear)
    if started:
        worker.start()
    workers.append(worker)


for made, started, reach, listed in (
    ("the main thread", "there", ALL, False),
    ("a thread", "there", {"method of a QObject"}, True),
    ("a thread", "in the main thread", {"method of a QObject"}, API_NAME == "PySide6"),
):
    heard.clear()
    workers = []
    if made == "a thread":
        thread = threading.Thread(target=make, args=(started == "there",))
        thread.start()
        thread.join()
    else:
        make(True)
    if started != "there":
        workers[0].start()
    QTimer.singleShot(1000, app.quit)
    app.exec()
    still = workers[0] in WorkerBase._worker_set
    print(f"made in {made}, started {started}: heard by {', '.join(sorted(heard))}; "
          f"{'still listed as running' if still else 'done'}")
    if heard != reach or still != listed:
        raise SystemExit("CHANGED: others heard of it, or it is listed otherwise")
END
export QT_QPA_PLATFORM=offscreen
"${python[@]}" listen.py pyqt6
"${python[@]}" listen.py pyside6
echo "as described: of a worker made in a thread that ended only QObjects hear"
