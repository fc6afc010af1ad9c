"""Base classes of all admins here. People read rows; the engine alone writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from taskqueue.admin.shared.pagination import CappedPaginator
from taskqueue.admin.shared.view_wrappers import WrappedViews

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as ModelAdmin
    from django.db.models import QuerySet
else:

    class ModelAdmin(admin.ModelAdmin):
        """`ModelAdmin[Row]`: Django's admin takes type arguments in the stubs only."""

        def __class_getitem__(cls, _item: object) -> type:
            return cls


Row = TypeVar("Row", bound=Model)


class BaseAdmin(WrappedViews, ModelAdmin[Row]):
    """A list of bounded cost, with the model's name as its title."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50
    sortable_by = ()

    class Media:
        css = {"all": ["taskqueue/admin.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Django's list, titled "Tasks" instead of "Select task to change"."""
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Row | None:
        """The row; None for a key with a NUL character, which PostgreSQL refuses."""
        return None if "\x00" in object_id else super().get_object(request, object_id, from_field)


class ReadOnlyAdmin(BaseAdmin[Row]):
    """A list and a page per row. No user can add, change or delete rows, not even a superuser."""

    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow the filters' parameters and `id__lt`; a look-up on another column may scan the table or fail."""
        own: set[str | None] = {"id__lt"}
        for list_filter in self.list_filter:
            own |= {getattr(list_filter, "parameter_name", None), *getattr(list_filter, "parameters", ())}
        columns = {"pk", *(field.name for field in self.model._meta.get_fields())}
        return lookup in own or lookup.partition("__")[0] not in columns

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Row], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Run the chosen action; a form may send keys that are not valid."""
        try:
            return super().response_action(request, queryset, *args, **kwargs)
        except ValidationError:
            self.message_user(request, "There are no such rows; nothing was done.", messages.WARNING)
            return HttpResponseRedirect(request.get_full_path())


class ChangeableAdmin(BaseAdmin[Row]):
    """Rows that the code creates; people may change some of their values."""

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
