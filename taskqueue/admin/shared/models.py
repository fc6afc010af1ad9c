"""What all pages of this admin share: rows are looked at, never edited; the engine alone writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from taskqueue.admin.shared.framing import Framed
from taskqueue.admin.shared.pagination import CappedPaginator

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as ModelAdmin
    from django.contrib.admin import TabularInline as TabularInline
    from django.db.models import QuerySet
else:

    class Subscriptable:
        """Django's admin classes take type arguments in the stubs only."""

        def __class_getitem__(cls, _item: object) -> type:
            """The class itself."""
            return cls

    class ModelAdmin(Subscriptable, admin.ModelAdmin):
        """`ModelAdmin[Row]`."""

    class TabularInline(Subscriptable, admin.TabularInline):
        """`TabularInline[Row, Parent]`."""


Row = TypeVar("Row", bound=Model)
Parent = TypeVar("Parent", bound=Model)


class ReadOnly:
    """No adding, changing or deleting, whatever the user's rights."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False


class ReadOnlyAdmin(Framed, ReadOnly, ModelAdmin[Row]):
    """A list of rows, with a bounded cost, and a page for each."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Of the columns only where a capped list goes on: other look-ups may scan the table, or not parse."""
        own: set[str | None] = {"id__lt"}
        for choice in self.list_filter:
            own |= {getattr(choice, "parameter_name", None), *getattr(choice, "parameters", ())}
        columns = {"pk", *(field.name for field in self.model._meta.get_fields())}
        return lookup in own or lookup.partition("__")[0] not in columns

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Row | None:
        """The row. None has a NUL character in its key, which PostgreSQL would refuse to look for."""
        return None if "\x00" in object_id else super().get_object(request, object_id, from_field)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Row], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Do what was chosen. What stands for a row in the form may be no key at all."""
        try:
            return super().response_action(request, queryset, *args, **kwargs)
        except ValidationError:
            self.message_user(request, "There are no such rows; nothing was done.", messages.WARNING)
            return HttpResponseRedirect(request.get_full_path())

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    sortable_by = ()

    class Media:
        css = {"all": ["taskqueue/admin.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list under its own name; there is nothing to select for changing."""
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title, **(extra_context or {})})


class ChangeableAdmin(Framed, ModelAdmin[Row]):
    """Rows that the code makes, and in which people may change a few numbers."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50
    sortable_by = ()
    actions = None

    class Media:
        css = {"all": ["taskqueue/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The code adds them."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The code would make them again."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list under its own name."""
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Row | None:
        """The row. None has a NUL character in its key, which PostgreSQL would refuse to look for."""
        return None if "\x00" in object_id else super().get_object(request, object_id, from_field)


class ReadOnlyInline(ReadOnly, TabularInline[Row, Parent]):
    """Rows of another model on the page of the one that they belong to."""

    extra = 0
    max_num = 0
    can_delete = False
