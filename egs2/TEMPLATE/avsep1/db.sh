# shellcheck shell=bash disable=SC2034
# Where the corpora are; sourced by local/data.sh.
#
#   empty       fill in the path of the folder
#   downloads   the recipe puts the corpus into its own folder downloads/ (mini_music is
#               generated, the others are fetched with avsep_download, see its --help)
#
# An environment variable of the same name wins: MUSIC=/data/music ./run.sh

# MUSIC: videos/<category>/<id>.mp4 and MUSIC_solo_videos.json (and
# MUSIC_duet_videos.json), or audio/ and frames/ with CSV files.
MUSIC=

# MUSIC-21: the same, with MUSIC21_solo_videos.json.
MUSIC21=

# VGGSound: vggsound.csv and <id>_<start>.mp4 in any folders, or the mirror's archives.
VGGSOUND=

# AVE: Annotations.txt, trainSet.txt, valSet.txt, testSet.txt and <id>.mp4.
AVE=

# The embedded corpus, which stage 1 generates.
MINI_MUSIC=downloads
