# shellcheck shell=bash disable=SC2034
# Where the corpora are; sourced by local/data.sh.
#
#   empty       fill in the path of the folder
#   downloads   the recipe puts the corpus into its own folder downloads/ (mini_music is
#               generated, the others are fetched with avsep_download, see its --help)
#
# An environment variable of the same name wins: MUSIC=/data/music ./run.sh

# MUSIC, the solo videos: videos/<category>/<id>.mp4 and MUSIC_solo_videos.json, or
# HFRA's layout, audio/ and frames/ with CSV files.
MUSIC=

# The embedded corpus, which stage 1 generates.
MINI_MUSIC=downloads
