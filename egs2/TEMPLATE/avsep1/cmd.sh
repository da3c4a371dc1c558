# shellcheck shell=bash
# Where the jobs run; sourced. Choose a backend here, or set cmd_backend=... in the
# environment.
#
#   local    on this machine
#   stdout   on this machine, one after the other, output shown as well as logged
#   slurm    on a Slurm cluster; write your partitions into conf/slurm.conf
#   sge      on a Grid Engine cluster, with Kaldi's queue.pl, which is not part of this
#            project (it needs Perl): put it on the PATH; write your queues into
#            conf/queue.conf
#
# Every command has the form
#   <command>.pl [--gpu N] [--mem M] [--num-threads N] [JOB=1:N] <log> <program> ...
# and options can be added here, e.g. train_cmd="slurm.pl --mem 4G --time 2:00:00".

cmd_backend=${cmd_backend:-local}

case ${cmd_backend} in
    local)
        export train_cmd="run.pl"  # data preparation, one core a job
        export cuda_cmd="run.pl"   # whatever may use a GPU
        export decode_cmd="run.pl" # separation without a GPU, scoring
        ;;
    stdout)
        export train_cmd="stdout.pl"
        export cuda_cmd="stdout.pl"
        export decode_cmd="stdout.pl"
        ;;
    slurm)
        export train_cmd="slurm.pl --mem 4G"
        export cuda_cmd="slurm.pl --mem 16G --num-threads 4"
        export decode_cmd="slurm.pl --mem 4G"
        ;;
    sge)
        if ! command -v queue.pl > /dev/null; then
            echo "cmd.sh: error: cmd_backend=sge needs Kaldi's queue.pl on the PATH" >&2
            return 2
        fi
        export train_cmd="queue.pl --mem 4G"
        export cuda_cmd="queue.pl --mem 16G --num-threads 4"
        export decode_cmd="queue.pl --mem 4G"
        ;;
    *)
        echo "cmd.sh: error: cmd_backend=${cmd_backend}: expected local, stdout, slurm or sge" >&2
        return 2
        ;;
esac
