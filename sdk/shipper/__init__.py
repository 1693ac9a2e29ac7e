"""The shipper: the process that sends the rows of a runs directory to other machines, so that no program has to.

    plan.py      what a program hands over: its run, and its network exporters with their secrets
    meeting.py   where programs and shipper find each other, and how they speak
    program.py   the program's side: hand over, hear of trouble, wait at finish(); spawn.py starts a shipper, on_threads.py
                 is what is done where none can be had
    listening.py what of the meeting is the shipper's and the command's
    process.py   the shipper's side: one process, every run of the directory, 60 s more, then the end
    serving.py   one run: which writers it has, which are dead, what is left
    fifo.py      one exporter's way through the writers of one rank, in order

A shipper holds nothing that is not in the journals: when it dies, the next one goes on from the stored cursors.
"""
